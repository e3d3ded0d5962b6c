"""What the audit log tells about a tenant."""

from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Date, Select, case, cast, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from neuronetz_gateway.db.tables import api_keys, audit_log
from neuronetz_gateway.domain.audit import Outcome


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One request as it was written down; admitted_at is when it was refused where it was."""

    id: UUID
    tenant_id: UUID
    api_key_id: UUID
    request_id: str
    endpoint: str
    model: str
    outcome: Outcome
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
    recorded_on: date
    address: str
    user_agent: str


@dataclass(frozen=True, slots=True)
class ModelUsage:
    """What one model consumed on one day, refused requests apart.

    Corrections are no requests; their tokens are in charged_tokens of the day that they correct.
    """

    day: date
    model: str
    requests: int
    prompt_tokens: int
    output_tokens: int
    charged_tokens: int


_FIELDS = tuple(field.name for field in fields(AuditRecord))
_IS_CORRECTION = audit_log.c.outcome == Outcome.ADJUSTED.value


@dataclass(frozen=True, slots=True)
class KeyUsage:
    """What one key consumed; requests counts those that reached a budget."""

    prefix: str
    name: str
    requests: int
    charged_tokens: int


class AuditLog:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def usage(
        self,
        tenant_id: UUID,
        *,
        since: datetime,
        until: datetime | None = None,
        time_zone: str = "UTC",
        api_key_id: UUID | None = None,
    ) -> list[ModelUsage]:
        """Consumption by day of the given zone, then by model, the oldest first, of one key where it is given."""
        moment = case((_IS_CORRECTION, audit_log.c.day), else_=audit_log.c.admitted_at)
        day = cast(func.timezone(time_zone, moment), Date).label("local_day")  # the log has a column day
        statement = (
            _sums(tenant_id, since, until, day, audit_log.c.model)
            .group_by("local_day", audit_log.c.model)
            .order_by("local_day", audit_log.c.model)
        )
        if api_key_id is not None:
            statement = statement.where(audit_log.c.api_key_id == api_key_id)
        return [
            ModelUsage(
                day=row.local_day,
                model=row.model,
                requests=row.requests,
                prompt_tokens=int(row.prompt_tokens),
                output_tokens=int(row.output_tokens),
                charged_tokens=int(row.charged_tokens),
            )
            for row in (await self._connection.execute(statement)).all()
        ]

    async def usage_by_key(self, tenant_id: UUID, *, since: datetime, until: datetime, most: int) -> list[KeyUsage]:
        """Consumption of a tenant by key, the most used first; corrections that name no key are left out."""
        statement = (
            _sums(tenant_id, since, until, audit_log.c.api_key_id)
            .add_columns(api_keys.c.prefix, api_keys.c.name)
            .join(api_keys, api_keys.c.id == audit_log.c.api_key_id)
            .group_by(audit_log.c.api_key_id, api_keys.c.prefix, api_keys.c.name)
            .order_by(func.sum(audit_log.c.charged_tokens).desc(), api_keys.c.prefix)
            .limit(most)
        )
        return [
            KeyUsage(row.prefix, row.name, row.requests, int(row.charged_tokens))
            for row in (await self._connection.execute(statement)).all()
        ]

    async def list(
        self, tenant_id: UUID, *, since: datetime, limit: int, api_key_id: UUID | None = None
    ) -> list[AuditRecord]:
        """The newest records at or after a moment, the newest first, of one key where it is given."""
        statement = (
            select(*(audit_log.c[name] for name in _FIELDS))
            .where(audit_log.c.tenant_id == tenant_id, audit_log.c.admitted_at >= since)
            .order_by(audit_log.c.admitted_at.desc(), audit_log.c.id.desc())
            .limit(limit)
        )
        if api_key_id is not None:
            statement = statement.where(audit_log.c.api_key_id == api_key_id)
        rows = (await self._connection.execute(statement)).mappings().all()
        return [AuditRecord(**{**row, "outcome": Outcome(row["outcome"])}) for row in rows]


def _sums(tenant_id: UUID, since: datetime, until: datetime | None, *by: ColumnElement[Any]) -> Select[Any]:
    """What was consumed from one moment to another; a correction counts on the day that it corrects."""
    statement = select(
        *by,
        func.count().filter(~_IS_CORRECTION).label("requests"),
        func.sum(audit_log.c.prompt_tokens).label("prompt_tokens"),
        func.sum(audit_log.c.output_tokens).label("output_tokens"),
        func.sum(audit_log.c.charged_tokens).label("charged_tokens"),
    ).where(
        audit_log.c.tenant_id == tenant_id,
        audit_log.c.admitted_at >= since,
        # Nothing is recorded before it was admitted (give or take a day between two clocks), so that the partitions of
        # earlier days need not be looked into.
        audit_log.c.recorded_on >= since.astimezone(UTC).date() - timedelta(days=1),
        audit_log.c.outcome.not_in([Outcome.REFUSED.value, Outcome.NOTED.value]),
        or_(~_IS_CORRECTION, audit_log.c.day >= since),
    )
    if until is None:
        return statement
    return statement.where(
        or_(_IS_CORRECTION, audit_log.c.admitted_at < until), or_(~_IS_CORRECTION, audit_log.c.day < until)
    )
