"""Rows of the audit log as they stand there, of every tenant, for operators."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, fields
from datetime import date, datetime
from ipaddress import IPv6Address, ip_address
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, false, or_, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from neuronetz_gateway.db.tables import api_keys, audit_log, tenants

_AT_ONCE = 1_000
_NETWORK_BITS = 64
_USUAL_STATUS, _USUAL_OUTCOME = 200, "completed"  # what the indexes of status and outcome leave out (revision 0006)


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One row with the names of its tenant and its key; the fields after `key` are the columns of the table."""

    tenant: str | None
    key: str | None
    id: UUID
    recorded_on: date
    tenant_id: UUID | None
    api_key_id: UUID | None
    request_id: str
    endpoint: str
    model: str
    outcome: str
    status: int
    reason: str
    prompt_tokens: int
    output_tokens: int
    charged_tokens: int
    estimated: bool
    reserved_tokens: int
    first_byte_ms: int | None
    duration_ms: int | None
    admitted_at: datetime
    address: str
    user_agent: str
    day: datetime | None
    month: datetime | None
    occurrences: int
    writer: UUID | None
    sequence: int | None
    hash: bytes | None


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """What rows are wanted; None wants all. since is inclusive, until exclusive; both are about admitted_at."""

    tenant_id: UUID | None = None
    api_key_id: UUID | None = None
    outcome: str | None = None
    status: int | None = None
    model: str | None = None
    request: str | None = None  # a caller's request id, or a row's own id with what was written about it
    address: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def wants_all(self) -> bool:
        return not self._given

    @property
    def is_indexed(self) -> bool:
        """Whether an index leads to these rows alone, so that days without any cost next to nothing."""
        given = self._given - {"since", "until"}
        return (
            given == {"tenant_id"}
            or (given == {"status"} and self.status != _USUAL_STATUS)
            or (given == {"outcome"} and self.outcome != _USUAL_OUTCOME)
        )

    @property
    def _given(self) -> frozenset[str]:
        return frozenset(field.name for field in fields(self) if getattr(self, field.name) is not None)


_NAMES = tuple(field.name for field in fields(AuditRow))
# Those that are made ahead of time have no page yet.
_DAYS = text(
    "select to_date(right(c.relname, 8), 'YYYYMMDD') as day from pg_inherits i join pg_class c on c.oid = i.inhrelid"
    " where i.inhparent = 'audit_log'::regclass and c.relname ~ '^audit_log_[0-9]{8}$' and pg_relation_size(c.oid) > 0"
    " union select distinct recorded_on from audit_log_default order by day"
)
_ESTIMATE = text(
    "select sum(greatest(c.reltuples, 0)) from pg_inherits i join pg_class c on c.oid = i.inhrelid"
    " where i.inhparent = 'audit_log'::regclass"
)


class AuditRows:
    """Reads day by day, so that no more than one partition is looked into at a time, in the order of its own index.

    What an index of its own leads to is looked for in all days at once. Ids are made in the order of time, to the
    millisecond: by them rows of a day stand as requests came.
    """

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def estimate(self) -> int:
        """About how many rows there are, as Postgres last counted them; 0 where it has not."""
        return int(await self._connection.scalar(_ESTIMATE) or 0)

    async def newest(self, wanted: AuditFilter, limit: int) -> list[AuditRow]:
        """The newest rows first, `limit` at most."""
        if wanted.request is not None:
            return await self._newest_of(_rows(wanted), wanted, limit)
        found: list[AuditRow] = []
        for day in reversed(await self._days()):
            found += await self._newest_of(_of_day(wanted, day), wanted, limit - len(found))
            if len(found) >= limit:
                break
            if wanted.is_indexed:  # in the last day they are few, then: whatever there is before it comes at once
                older = _rows(wanted).where(audit_log.c.recorded_on < day)
                return found + await self._newest_of(older, wanted, limit - len(found))
        return found

    async def _newest_of(self, rows: Select[Any], wanted: AuditFilter, limit: int) -> list[AuditRow]:
        statement = rows.order_by(*_newest_first(wanted)).limit(limit)
        return [_row(row) for row in (await self._connection.execute(statement)).all()]

    async def stream(self, wanted: AuditFilter) -> AsyncGenerator[list[AuditRow], None]:
        """All rows, the oldest first, some at a time: a cursor of the server keeps the rest."""
        for day in await self._days():
            statement = _of_day(wanted, day).order_by(audit_log.c.id).execution_options(yield_per=_AT_ONCE)
            async with self._connection.stream(statement) as result:
                async for part in result.partitions():
                    yield [_row(row) for row in part]

    async def _days(self) -> list[date]:
        """The days that have rows in a partition of their own, with those of rows that came into the default one."""
        return list((await self._connection.execute(_DAYS)).scalars())


def _of_day(wanted: AuditFilter, day: date) -> Select[Any]:
    return _rows(wanted).where(audit_log.c.recorded_on == day)


def _rows(wanted: AuditFilter) -> Select[Any]:
    named = {"tenant": tenants.c.name, "key": api_keys.c.prefix}
    columns = [named[name].label(name) if name in named else audit_log.c[name] for name in _NAMES]
    return (
        select(*columns)
        .select_from(
            audit_log.outerjoin(tenants, tenants.c.id == audit_log.c.tenant_id).outerjoin(
                api_keys, api_keys.c.id == audit_log.c.api_key_id
            )
        )
        .where(*_conditions(wanted))
    )


def _newest_first(wanted: AuditFilter) -> list[ColumnElement[Any]]:
    """The order of the index that finds them: rows of one tenant may be few among millions."""
    columns = audit_log.c
    return [columns.id.desc()] if wanted.tenant_id is None else [columns.admitted_at.desc(), columns.id.desc()]


def _conditions(wanted: AuditFilter) -> list[ColumnElement[bool]]:
    columns = audit_log.c
    conditions: list[ColumnElement[bool]] = [
        columns[name] == value
        for name in ("tenant_id", "api_key_id", "outcome", "status", "model")
        if (value := getattr(wanted, name)) is not None
    ]
    if wanted.request is not None:
        row_id = _uuid(wanted.request)
        by_id = false() if row_id is None else columns.id == row_id
        conditions.append(or_(columns.request_id == wanted.request, by_id))
    if wanted.address is not None:
        conditions.append(columns.address.in_(_spellings(wanted.address)))
    if wanted.since is not None:
        conditions.append(columns.admitted_at >= wanted.since)
    if wanted.until is not None:
        conditions.append(columns.admitted_at < wanted.until)
    return conditions


def _spellings(address: str) -> list[str]:
    """An address and, of IPv6, the network under which failures of its /64 are counted."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return [address]
    if not isinstance(parsed, IPv6Address):
        return [address]
    network = IPv6Address(int(parsed) >> _NETWORK_BITS << _NETWORK_BITS)
    return [address, str(parsed), f"{network}/{_NETWORK_BITS}"]


def _uuid(text_: str) -> UUID | None:
    try:
        return UUID(text_)
    except ValueError:
        return None


def _row(row: Any) -> AuditRow:
    return AuditRow(*row)
