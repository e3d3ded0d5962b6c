"""Audit rows in the order of their chains, a day at a time, for whoever checks them."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import date
from typing import Any

import asyncpg
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from neuronetz_gateway.db.tables import audit_heads, audit_listed
from neuronetz_gateway.domain.audit_chain import MOMENTS, TEXT_COLUMNS, ChainName, Head
from neuronetz_gateway.errors import UnavailableError

_AT_ONCE = 1_000
_IDS = frozenset({"id", "writer", "tenant_id", "api_key_id"})
# Whoever drops a day needs a stronger lock of the whole table: what a snapshot sees of a day then is all or nothing.
_HOLD = text("lock table only audit_log in access share mode")
_DAYS = text("""
select day from (
  select to_date(right(c.relname, 8), 'YYYYMMDD') as day from pg_inherits i join pg_class c on c.oid = i.inhrelid
  where i.inhparent = 'audit_log'::regclass and c.relname ~ '^audit_log_[0-9]{8}$'
  union select recorded_on from audit_log_default
  union select day from audit_heads) days
where day between :least and :most order by day
""")
_OUTSIDE = text("select id::text from audit_log_default where not recorded_on between :least and :most limit :count")
# the last of all days that a Python date can be; Postgres knows more, among them infinity
_FIRST, _LAST = date(1, 1, 2), date(9999, 12, 30)


def _column(name: str) -> str:
    if name in MOMENTS:  # as text, since a moment that somebody made up may fit into no integer
        return f"(extract(epoch from {name}) * 1000000)::text"
    return f"{name}::text" if name in _IDS else name


_ROWS = (
    f"select {', '.join(_column(name) for name in TEXT_COLUMNS if name != 'recorded_on')}, hash"  # noqa: S608 - constants
    " from audit_log where recorded_on = $1 order by writer, sequence"
)


@dataclass(frozen=True, slots=True)
class ChainedRow:
    """One row: the values of its text in their order (those of a moment in microseconds), beside its hash.

    writer and sequence are None in a row that is in no chain.
    """

    writer: str | None
    sequence: int | None
    id: str
    values: tuple[str | int | bool | None, ...]
    hash: bytes | None


class ChainedRows:
    """To be asked within one snapshot; nothing is dropped while it lasts."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def hold(self) -> None:
        """Keeps days from being dropped until the snapshot ends; to be called first, before it sees anything."""
        await self._connection.execute(_HOLD)

    async def days(self) -> list[date]:
        """The days (UTC) that have rows, a partition or heads."""
        return list((await self._connection.execute(_DAYS, {"least": _FIRST, "most": _LAST})).scalars())

    async def outside(self, most: int) -> list[str]:
        """The ids of rows on days that cannot be, `most` at most."""
        bounds = {"least": _FIRST, "most": _LAST, "count": most}
        return list((await self._connection.execute(_OUTSIDE, bounds)).scalars())

    async def count(self) -> int:
        """How many rows the heads speak of."""
        return int(await self._connection.scalar(select(func.sum(audit_heads.c.sequence))) or 0)

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


def _row(
    day: str, writer: str | None, sequence: int | None, row_id: str, *others: str | int | bool | bytes | None
) -> ChainedRow:
    *values, digest = others
    for place in _MOMENT_PLACES:
        values[place] = _microseconds(values[place])
    return ChainedRow(writer, sequence, row_id, (writer, day, sequence, row_id, *values), digest)  # type: ignore[arg-type]  # the hash is bytes


def _microseconds(moment: object) -> object:
    if type(moment) is not str:
        return moment
    whole, _, fraction = moment.partition(".")
    return int(whole) if fraction.strip("0") == "" and whole.lstrip("-").isdigit() else moment


# in what follows upon writer, recorded_on, sequence, id
_MOMENT_PLACES = tuple(TEXT_COLUMNS.index(name) - 4 for name in TEXT_COLUMNS if name in MOMENTS)
