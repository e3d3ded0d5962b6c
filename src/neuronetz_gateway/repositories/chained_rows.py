"""Audit rows in the order of their chains, a day at a time, for whoever checks them."""

from collections.abc import AsyncGenerator
from datetime import date
from typing import Any

import asyncpg
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from neuronetz_gateway.db.tables import audit_heads, audit_listed
from neuronetz_gateway.domain.audit_chain import MOMENTS, TEXT_COLUMNS, ChainName, Head
from neuronetz_gateway.domain.chain_walk import ChainedRow
from neuronetz_gateway.errors import UnavailableError

_AT_ONCE = 1_000
# Whoever drops a day, or moves its rows out of the default partition, needs stronger locks of these: what a snapshot
# sees of a day is all or nothing then.
_HOLD = text("lock table only audit_log, audit_log_default in access share mode")
_DAYS = text("""
select day from (
  select to_date(right(c.relname, 8), 'YYYYMMDD') as day from pg_inherits i join pg_class c on c.oid = i.inhrelid
  where i.inhparent = 'audit_log'::regclass and c.relname ~ '^audit_log_[0-9]{8}$'
  union select recorded_on from audit_log_default) days
where day between :least and :most and exists (select 1 from audit_log a where a.recorded_on = days.day)
union select day from audit_heads where day between :least and :most
union select day from audit_listed where day between :least and :most
order by day
""")
_OUTSIDE = text("select id::text from audit_log_default where not recorded_on between :least and :most limit :count")
# the last of all days that a Python date can be; Postgres knows more, among them infinity
_FIRST, _LAST = date(1, 1, 2), date(9999, 12, 30)
# TEXT_COLUMNS in their order but for the day, then the hash. Moments are text, since one that somebody made up may fit
# into no integer.
_ROWS = """
select writer::text, sequence, id::text, tenant_id::text, api_key_id::text, request_id, endpoint, model, outcome,
       status, reason, prompt_tokens, output_tokens, charged_tokens, estimated, reserved_tokens, first_byte_ms,
       duration_ms, (extract(epoch from admitted_at) * 1000000)::text, address, user_agent,
       (extract(epoch from day) * 1000000)::text, (extract(epoch from month) * 1000000)::text, occurrences, hash
from audit_log where recorded_on = $1 order by writer, sequence"""
# in what follows upon writer, recorded_on, sequence, id
_MOMENT_PLACES = tuple(TEXT_COLUMNS.index(name) - 4 for name in TEXT_COLUMNS if name in MOMENTS)


class ChainedRows:
    """To be asked within one snapshot; nothing is dropped while it lasts."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def hold(self) -> None:
        """Keeps days where they are until the snapshot ends; to be called first, before it sees anything."""
        await self._connection.execute(_HOLD)

    async def days(self) -> list[date]:
        """The days (UTC) that have rows, heads or were listed by a checkpoint."""
        return list((await self._connection.execute(_DAYS, {"least": _FIRST, "most": _LAST})).scalars())

    async def outside(self, most: int) -> list[str]:
        """The ids of rows on days that cannot be, `most` at most."""
        bounds = {"least": _FIRST, "most": _LAST, "count": most}
        return list((await self._connection.execute(_OUTSIDE, bounds)).scalars())

    async def count(self) -> int:
        """How many rows the heads speak of."""
        return int(await self._connection.scalar(select(func.sum(audit_heads.c.sequence))) or 0)

    async def first_day(self) -> date | None:
        """The first day that has a chain."""
        statement = select(func.min(audit_heads.c.day)).where(audit_heads.c.day.between(_FIRST, _LAST))
        day: date | None = await self._connection.scalar(statement)
        return day

    async def heads(self, day: date) -> dict[str, Head]:
        """The heads of a day by their writers."""
        rows = (await self._connection.execute(select(audit_heads).where(audit_heads.c.day == day))).all()
        return {str(row.writer): Head(ChainName(row.writer, row.day), row.sequence, row.hash) for row in rows}

    async def listed(self, day: date) -> dict[str, int]:
        """How far the chains of a day have been listed by checkpoints, by their writers."""
        rows = (await self._connection.execute(select(audit_listed).where(audit_listed.c.day == day))).all()
        return {str(row.writer): row.sequence for row in rows}

    async def of_day(self, day: date) -> AsyncGenerator[list[ChainedRow], None]:
        """The rows of a day chain by chain, each in its order, some at a time; those of no chain come last."""
        shown = day.isoformat()
        # asyncpg's own cursor: SQLAlchemy's costs three times as much a row, and there may be many millions
        driver: Any = (await self._connection.get_raw_connection()).driver_connection
        try:
            cursor = await driver.cursor(_ROWS, day)
            while part := await cursor.fetch(_AT_ONCE):
                yield [_row(shown, *record) for record in part]
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise UnavailableError("The database is not available.") from error


def _row(day: str, writer: str | None, sequence: int | None, row_id: str, *others: Any) -> ChainedRow:
    *values, digest = others
    for place in _MOMENT_PLACES:
        values[place] = _microseconds(values[place])
    return ChainedRow(writer, sequence, row_id, (writer, day, sequence, row_id, *values), digest)


def _microseconds(moment: str | None) -> str | int | None:
    if moment is None:
        return None
    whole, _, fraction = moment.partition(".")
    return int(whole) if not fraction.strip("0") and whole.removeprefix("-").isdigit() else moment
