"""Whoever can write in the database, at the audit log: what he changes, how he covers his tracks."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any
from uuid import UUID

from neuronetz_gateway.domain.audit_chain import TEXT_COLUMNS
from neuronetz_gateway.domain.chain_finding import Finding
from neuronetz_gateway.domain.verification import VerificationReport

# Computes the hashes of a chain anew from one row to another, as the attacker does who knows how they are made.
_FORGE = """
create or replace function forge(w uuid, d date, first bigint, last bigint) returns void language plpgsql as $$
declare
  before bytea := coalesce((select a.hash from audit_log a
    where a.writer = w and a.recorded_on = d and a.sequence < first order by a.sequence desc limit 1), '');
  r audit_log;
begin
  for r in select * from audit_log a where a.writer = w and a.recorded_on = d and a.sequence between first and last
           order by a.sequence loop
    before := sha256(before || convert_to(audit_text_r1(r), 'UTF8'));
    update audit_log a set hash = before where a.writer = w and a.recorded_on = d and a.sequence = r.sequence;
  end loop;
end $$;
"""
_TABLES = ("audit_log", "audit_heads", "audit_listed", "audit_checkpoints")
_OTHER_VALUES = {
    "id": "gen_random_uuid()",
    "tenant_id": "case when tenant_id is null then gen_random_uuid() end",
    "api_key_id": "gen_random_uuid()",
    "request_id": "request_id || ' '",
    "endpoint": "'/' || endpoint",
    "model": "upper(model) || 'x'",
    "outcome": "case outcome when 'refused' then 'completed' else 'refused' end",
    "status": "status + 1",
    "reason": "reason || chr(8203)",
    "prompt_tokens": "prompt_tokens + 1",
    "output_tokens": "-output_tokens - 1",
    "charged_tokens": "charged_tokens - 1",
    "estimated": "not estimated",
    "reserved_tokens": "reserved_tokens + 1000000000000",
    "first_byte_ms": "case when first_byte_ms is null then 0 end",
    "duration_ms": "coalesce(duration_ms, 0) + 1",
    "admitted_at": "admitted_at + interval '1 microsecond'",
    "address": "address || '.'",
    "user_agent": "left(user_agent, -1) || 'y'",
    "day": "coalesce(day, admitted_at) - interval '1 day'",
    "month": "case when month is null then timestamptz 'infinity' end",
    "occurrences": "occurrences + 1",
    "hash": "sha256(hash)",
    "sequence": "null",
    "writer": "null",
}
COLUMNS = (*(name for name in TEXT_COLUMNS if name != "recorded_on"), "hash")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row stands in the log as it was written."""

    writer: UUID
    day: date
    sequence: int
    last: int  # of its chain
    id: UUID

    def named_by(self, finding: Finding) -> bool:
        """Whether a finding is about this row or a stretch with it."""
        if finding.id == str(self.id):
            return True
        if (finding.writer, finding.day) != (str(self.writer), self.day):
            return False
        first, last = finding.first_sequence, finding.sequence
        return first is not None and last is not None and first <= self.sequence <= last

    def named_alone_by(self, finding: Finding) -> bool:
        """Whether it is this row that a finding shows by."""
        at_place = (finding.writer, finding.day, finding.sequence) == (str(self.writer), self.day, self.sequence)
        return at_place or finding.id == str(self.id)


@dataclass(frozen=True, slots=True)
class Tampering:
    """What was done, to which row; `exact` if the row itself must be named, else the stretch it lies in."""

    words: str
    place: Place
    exact: bool

    def found_in(self, report: VerificationReport) -> bool:
        named = self.place.named_alone_by if self.exact else self.place.named_by
        return any(named(finding) for finding in report.findings)


class Attacker:
    """Changes one thing at a time, in ways that `chance` chooses; `undo` puts everything back."""

    def __init__(self, connection: Any, chance: random.Random) -> None:
        self._connection = connection
        self._chance = chance
        self._ways: list[Callable[[Place], Awaitable[Tampering]]] = [
            self._edit, self._edit, self._edit_and_hash, self._edit_and_some_hashes, self._edit_and_all_hashes,
            self._delete, self._delete_some, self._delete_and_renumber, self._swap, self._swap_places, self._truncate,
            self._truncate_with_head, self._delete_chain, self._move_to_another_day, self._move_to_another_chain,
            self._insert,
        ]  # fmt: skip

    async def prepare(self) -> None:
        """Remembers everything as it is."""
        await self._connection.execute(_FORGE)
        for table in _TABLES:
            await self._connection.execute(f"create table kept_{table} as select * from {table}")  # noqa: S608

    async def undo(self) -> None:
        for table in _TABLES:
            await self._connection.execute(f"delete from {table}; insert into {table} select * from kept_{table}")  # noqa: S608

    async def tamper(self, number: int) -> Tampering:
        """The ways come round in turn, the columns of edits too; everything else is chance."""
        self._number = number
        places = await self._places()
        return await self._ways[number % len(self._ways)](self._chance.choice(places))

    async def edit_each_column(self) -> list[Tampering]:
        """Every second row has another column edited."""
        edited = list(zip((await self._places())[::2], COLUMNS, strict=False))
        for place, column in edited:
            await self._set(place, column)
        return [Tampering(f"{column} edited", place, exact=True) for place, column in edited]

    async def _places(self) -> list[Place]:
        rows = await self._connection.fetch(
            "select a.writer, a.recorded_on, a.sequence, h.sequence, a.id from kept_audit_log a join kept_audit_heads h"
            " on h.writer = a.writer and h.day = a.recorded_on order by 1, 2, 3"
        )
        return [Place(*row) for row in rows]

    async def _edit(self, place: Place, columns: tuple[str, ...] = COLUMNS) -> Tampering:
        column = columns[self._number // len(self._ways) % len(columns)]
        if self._number % len(self._ways):  # the second of the two ways takes the columns from their end
            column = columns[-1 - self._number // len(self._ways) % len(columns)]
        await self._set(place, column)
        return Tampering(f"{column} edited", place, exact=True)

    async def _edit_and_hash(self, place: Place) -> Tampering:
        done = await self._edit(place, _FORGED)
        await self._forge(place, place.sequence)
        return Tampering(f"{done.words}, its hash computed anew", place, exact=False)

    async def _edit_and_some_hashes(self, place: Place) -> Tampering:
        done = await self._edit(place, _FORGED)
        await self._forge(place, self._chance.randint(place.sequence, place.last))
        return Tampering(f"{done.words}, some hashes computed anew", place, exact=False)

    async def _edit_and_all_hashes(self, place: Place) -> Tampering:
        done = await self._edit(place, _FORGED)
        await self._forge(place, place.last)
        await self._mend_head(place)
        return Tampering(f"{done.words}, all hashes computed anew, the head's too", place, exact=False)

    async def _delete(self, place: Place) -> Tampering:
        await self._connection.execute("delete from audit_log where id = $1", place.id)
        return Tampering("deleted", place, exact=False)

    async def _delete_some(self, place: Place) -> Tampering:
        last = self._chance.randint(place.sequence, place.last)
        await self._delete_from(place, last)
        return Tampering(f"deleted, up to row {last}", place, exact=False)

    async def _delete_and_renumber(self, place: Place) -> Tampering:
        await self._connection.execute("delete from audit_log where id = $1", place.id)
        await self._shift(place, place.sequence + 1, -1)
        await self._forge(place, place.last)
        await self._mend_head(place)
        return Tampering("deleted, those behind it moved up with hashes computed anew", place, exact=False)

    async def _swap(self, place: Place) -> Tampering:
        """Everything but the places of two rows is exchanged."""
        other = await self._other(place)
        await self._connection.execute(
            f"""update audit_log a set {', '.join(f'{name} = b.{name}' for name in _CONTENTS if name != 'id')}
                from (select * from audit_log where id = any($1)) b where a.id = any($1) and b.id <> a.id""",  # noqa: S608
            [place.id, other.id],
        )  # fmt: skip
        return Tampering(f"contents swapped with row {other.sequence}", place, exact=True)

    async def _swap_places(self, place: Place) -> Tampering:
        other = await self._other(place)
        for row_id, sequence in ((place.id, -1), (other.id, place.sequence), (place.id, other.sequence)):
            await self._connection.execute("update audit_log set sequence = $2 where id = $1", row_id, sequence)
        return Tampering(f"places swapped with row {other.sequence}", place, exact=True)

    async def _truncate(self, place: Place) -> Tampering:
        await self._delete_from(place, place.last)
        return Tampering("cut off with all behind it", place, exact=False)

    async def _truncate_with_head(self, place: Place) -> Tampering:
        await self._delete_from(place, place.last)
        await self._mend_head(place)
        return Tampering("cut off with all behind it, the head put back", place, exact=False)

    async def _delete_chain(self, place: Place) -> Tampering:
        await self._connection.execute(
            "delete from audit_log where writer = $1 and recorded_on = $2", place.writer, place.day
        )
        for table in ("audit_heads", "audit_listed"):
            await self._connection.execute(
                f"delete from {table} where writer = $1 and day = $2", place.writer, place.day  # noqa: S608
            )  # fmt: skip
        return Tampering("its whole chain deleted", place, exact=False)

    async def _move_to_another_day(self, place: Place) -> Tampering:
        days = self._chance.choice([-400, -1, 1, 400])
        await self._connection.execute(
            "update audit_log set recorded_on = $2, sequence = sequence + 1000 where id = $1", place.id,
            place.day + timedelta(days=days),
        )  # fmt: skip
        return Tampering(f"moved by {days} days", place, exact=False)

    async def _move_to_another_chain(self, place: Place) -> Tampering:
        await self._connection.execute("update audit_log set writer = gen_random_uuid() where id = $1", place.id)
        return Tampering("moved to a chain of its own", place, exact=False)

    async def _insert(self, place: Place) -> Tampering:
        """A row that never was, with everything behind it moved down."""
        await self._shift(place, place.sequence, 1)
        columns = ", ".join(name for name in _CONTENTS if name != "id")
        await self._connection.execute(
            f"""insert into audit_log (id, recorded_on, writer, sequence, {columns})
                select gen_random_uuid(), $2, writer, $3, {columns} from audit_log where id = $1""",  # noqa: S608
            place.id, place.day, place.sequence,
        )  # fmt: skip
        await self._forge(place, place.last + 1)
        await self._mend_head(place)
        return Tampering("pushed down by a row that never was, with all hashes computed anew", place, exact=False)

    async def _other(self, place: Place) -> Place:
        places = [each for each in await self._places() if each.id != place.id and each.day == place.day]
        same = [each for each in places if each.writer == place.writer]
        return self._chance.choice(same or places)

    async def _set(self, place: Place, column: str) -> None:
        value = _OTHER_VALUES[column]
        await self._connection.execute(f"update audit_log set {column} = {value} where id = $1", place.id)  # noqa: S608

    async def _forge(self, place: Place, last: int) -> None:
        await self._connection.execute("select forge($1, $2, $3, $4)", place.writer, place.day, place.sequence, last)

    async def _delete_from(self, place: Place, last: int) -> None:
        await self._connection.execute(
            "delete from audit_log where writer = $1 and recorded_on = $2 and sequence between $3 and $4",
            place.writer, place.day, place.sequence, last,
        )  # fmt: skip

    async def _shift(self, place: Place, first: int, by: int) -> None:
        """Two steps, so that no place is taken twice on the way."""
        for step in (f"sequence + {by} + 1000000", "sequence - 1000000"):
            await self._connection.execute(
                f"""update audit_log set sequence = {step} where writer = $1 and recorded_on = $2
                    and sequence >= $3""",  # noqa: S608
                place.writer, place.day, first if "+" in step else 1000000,
            )  # fmt: skip

    async def _mend_head(self, place: Place) -> None:
        last = await self._connection.fetchrow(
            """select sequence, hash from audit_log where writer = $1 and recorded_on = $2
               order by sequence desc limit 1""",
            place.writer, place.day,
        )  # fmt: skip
        if last is None:
            await self._connection.execute(
                "delete from audit_heads where writer = $1 and day = $2", place.writer, place.day
            )
        else:
            await self._connection.execute(
                "update audit_heads set sequence = $3, hash = $4 where writer = $1 and day = $2",
                place.writer, place.day, *last,
            )  # fmt: skip


# what an attacker can change without moving the row
_CONTENTS = tuple(name for name in COLUMNS if name not in {"writer", "sequence", "hash"})
# of these, what leaves a row of which a hash can be computed
_FORGED = tuple(name for name in _CONTENTS if name != "month")
