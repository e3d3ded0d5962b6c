"""What the audit log tells about a tenant."""

from dataclasses import dataclass, fields
from datetime import date, datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from neuronetz_gateway.db.tables import audit_log
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


_FIELDS = tuple(field.name for field in fields(AuditRecord))


class AuditLog:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

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
