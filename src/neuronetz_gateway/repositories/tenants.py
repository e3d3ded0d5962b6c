"""Tenants in Postgres."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from neuronetz_gateway.db.tables import tenants
from neuronetz_gateway.domain.limit import LimitChanges, Limits
from neuronetz_gateway.domain.tenant import Tenant, TenantStatus
from neuronetz_gateway.errors import ConflictError, NotFoundError


class Tenants:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(
        self,
        tenant_id: UUID,
        name: str,
        *,
        created_at: datetime,
        time_zone: str = "UTC",
        allow_all_models: bool = False,
        allowed_models: Iterable[str] = (),
        limits: Limits | None = None,
    ) -> Tenant:
        """Adds an active tenant; raises ConflictError where the name is taken."""
        limits = limits or Limits()
        statement = (
            insert(tenants)
            .values(
                id=tenant_id,
                name=name,
                status=TenantStatus.ACTIVE.value,
                time_zone=time_zone,
                allow_all_models=allow_all_models,
                allowed_models=sorted(set(allowed_models)),
                rpm=limits.rpm,
                tpm=limits.tpm,
                concurrent=limits.concurrent,
                output_cap=limits.output_cap,
                created_at=created_at,
            )
            .on_conflict_do_nothing(index_elements=[tenants.c.name])
            .returning(*tenants.c)
        )
        row = (await self._connection.execute(statement)).one_or_none()
        if row is None:
            raise ConflictError(f"A tenant named '{name}' exists already.")
        return _tenant(row)

    async def get(self, tenant_id: UUID) -> Tenant:
        """The tenant; raises NotFoundError."""
        row = (await self._connection.execute(select(tenants).where(tenants.c.id == tenant_id))).one_or_none()
        return _found(row, str(tenant_id))

    async def get_by_name(self, name: str) -> Tenant:
        """The tenant of that name; raises NotFoundError."""
        row = (await self._connection.execute(select(tenants).where(tenants.c.name == name))).one_or_none()
        return _found(row, name)

    async def list(self) -> list[Tenant]:
        """All tenants by name."""
        rows = (await self._connection.execute(select(tenants).order_by(tenants.c.name))).all()
        return [_tenant(row) for row in rows]

    async def set_status(self, tenant_id: UUID, status: TenantStatus) -> Tenant:
        """Suspends or resumes; raises NotFoundError."""
        return await self._set(tenant_id, {"status": status.value})

    async def set_models(
        self, tenant_id: UUID, *, allow_all: bool | None = None, models: Iterable[str] | None = None
    ) -> Tenant:
        """Replaces what is given: the allow-list (canonical names), whether all are allowed; raises NotFoundError."""
        listed = None if models is None else sorted(set(models))
        values = {"allow_all_models": allow_all, "allowed_models": listed}
        return await self._set(tenant_id, {name: value for name, value in values.items() if value is not None})

    async def set_limits(self, tenant_id: UUID, limits: LimitChanges) -> Tenant:
        """Sets the named limits, None takes one away; raises NotFoundError."""
        return await self._set(tenant_id, limits)

    async def _set(self, tenant_id: UUID, values: Mapping[str, object]) -> Tenant:
        """Writes nothing but these columns: another writer may be changing the others."""
        if not values:
            return await self.get(tenant_id)
        statement = update(tenants).where(tenants.c.id == tenant_id).values(dict(values)).returning(*tenants.c)
        return _found((await self._connection.execute(statement)).one_or_none(), str(tenant_id))


def _found(row: Row[Any] | None, sought: str) -> Tenant:
    if row is None:
        raise NotFoundError(f"There is no tenant '{sought}'.")
    return _tenant(row)


def _tenant(row: Row[Any]) -> Tenant:
    return Tenant(
        id=row.id,
        name=row.name,
        status=TenantStatus(row.status),
        time_zone=row.time_zone,
        allow_all_models=row.allow_all_models,
        allowed_models=frozenset(row.allowed_models),
        limits=Limits(rpm=row.rpm, tpm=row.tpm, concurrent=row.concurrent, output_cap=row.output_cap),
        version=row.version,
        created_at=row.created_at,
    )
