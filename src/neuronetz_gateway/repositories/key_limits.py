"""The limits that keys set below those of their tenants."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from neuronetz_gateway.db.tables import api_keys, key_limits
from neuronetz_gateway.domain.limit import LimitChanges, Limits
from neuronetz_gateway.errors import NotFoundError


class KeyLimits:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def get(self, tenant_id: UUID, key_id: UUID) -> Limits:
        """The limits of the key itself, none of them set where it has none."""
        statement = select(key_limits).where(key_limits.c.tenant_id == tenant_id, key_limits.c.api_key_id == key_id)
        row = (await self._connection.execute(statement)).one_or_none()
        return Limits() if row is None else Limits(row.rpm, row.tpm, row.concurrent, row.output_cap)

    async def set(self, tenant_id: UUID, key_id: UUID, limits: LimitChanges) -> None:
        """Sets the named limits of a key, leaves the others; raises NotFoundError where the tenant has no such key."""
        owned = select(api_keys.c.id).where(api_keys.c.tenant_id == tenant_id, api_keys.c.id == key_id)
        if (await self._connection.execute(owned)).one_or_none() is None:
            raise NotFoundError(f"There is no API key '{key_id}'.")
        values = dict(limits)
        statement = insert(key_limits).values(api_key_id=key_id, tenant_id=tenant_id, **values)
        await self._connection.execute(
            statement.on_conflict_do_update(index_elements=[key_limits.c.api_key_id], set_=values)
        )
