"""Who took a right away or gave it back, when, why."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import Row, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from neuronetz_gateway.db.tables import revocations


class RevocationAction(StrEnum):
    REVOKED = "revoked"
    SUSPENDED = "suspended"
    RESUMED = "resumed"
    ROTATED = "rotated"


@dataclass(frozen=True, slots=True)
class Revocation:
    """One such act; api_key_id None means the whole tenant."""

    id: UUID
    tenant_id: UUID
    api_key_id: UUID | None
    action: RevocationAction
    actor: str
    reason: str
    at: datetime


class Revocations:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(
        self,
        tenant_id: UUID,
        revocation_id: UUID,
        *,
        api_key_id: UUID | None,
        action: RevocationAction,
        actor: str,
        reason: str,
        at: datetime,
    ) -> Revocation:
        """Writes an act down."""
        statement = (
            insert(revocations)
            .values(
                id=revocation_id,
                tenant_id=tenant_id,
                api_key_id=api_key_id,
                action=action.value,
                actor=actor,
                reason=reason,
                at=at,
            )
            .returning(*revocations.c)
        )
        return _revocation((await self._connection.execute(statement)).one())

    async def list_since(self, moment: datetime) -> list[Revocation]:
        """All acts on whichever tenant at or after a moment, the oldest first: what each heartbeat asks for."""
        statement = select(revocations).where(revocations.c.at >= moment).order_by(revocations.c.at)
        return [_revocation(row) for row in (await self._connection.execute(statement)).all()]

    async def list(self, tenant_id: UUID) -> list[Revocation]:
        """All acts on one tenant with its keys, the oldest first."""
        statement = select(revocations).where(revocations.c.tenant_id == tenant_id).order_by(revocations.c.at)
        return [_revocation(row) for row in (await self._connection.execute(statement)).all()]


def _revocation(row: Row[Any]) -> Revocation:
    return Revocation(
        id=row.id,
        tenant_id=row.tenant_id,
        api_key_id=row.api_key_id,
        action=RevocationAction(row.action),
        actor=row.actor,
        reason=row.reason,
        at=row.at,
    )
