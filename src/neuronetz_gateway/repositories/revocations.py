"""Who took a right away or gave it back, when, why."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Row, Uuid, any_, bindparam, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from neuronetz_gateway.db.tables import api_keys, revocations, tenants
from neuronetz_gateway.domain.tenant import TenantStatus

_KEYS = bindparam("keys", type_=ARRAY(Uuid))


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


class Loss(StrEnum):
    """Why a key may run nothing more."""

    REVOKED = "revoked"
    DELETED = "deleted"
    SUSPENDED = "suspended"


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

    async def find_lost(self, api_key_ids: Iterable[UUID]) -> dict[UUID, Loss]:
        """Those of these keys that may run nothing more, with the reason.

        By the state of keys and tenants, not by what was written down here: another writer's plain SQL counts too. An
        expired key is none of them: what it began in its time is finished (rotation, PROMISES A6).
        """
        query = (
            select(api_keys.c.id, api_keys.c.revoked_at, tenants.c.status)
            .join(tenants, tenants.c.id == api_keys.c.tenant_id)
            .where(api_keys.c.id == any_(_KEYS))
        )
        asked = list(api_key_ids)
        rows = {row.id: row for row in (await self._connection.execute(query, {"keys": asked})).all()}
        found = {key_id: _loss(rows.get(key_id)) for key_id in asked}
        return {key_id: loss for key_id, loss in found.items() if loss is not None}

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


def _loss(row: Row[*tuple[Any, ...]] | None) -> Loss | None:
    if row is None:
        return Loss.DELETED  # its tenant may be with it: keys stand and fall with theirs
    if row.revoked_at is not None:
        return Loss.REVOKED
    return None if row.status == TenantStatus.ACTIVE else Loss.SUSPENDED
