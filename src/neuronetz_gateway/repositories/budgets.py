"""Token budgets of tenants with their keys."""

from typing import Literal
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from neuronetz_gateway.db.tables import api_keys, budgets, tenants
from neuronetz_gateway.domain.budget import Budget, Period
from neuronetz_gateway.errors import NotFoundError

type Scope = Literal["tenant", "key"]


class Budgets:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def set(
        self, tenant_id: UUID, scope: Scope, scope_id: UUID, period: Period, limit_tokens: int | None
    ) -> None:
        """Sets a budget, or takes it away (None: unlimited); it holds from the next reservation on.

        Raises NotFoundError where the scope is not that tenant or no key of it.
        """
        await self._require(tenant_id, scope, scope_id)
        if limit_tokens is None:
            await self._connection.execute(
                delete(budgets).where(
                    budgets.c.tenant_id == tenant_id,
                    budgets.c.scope_id == scope_id,
                    budgets.c.period == period.value,
                )
            )
            return
        statement = insert(budgets).values(
            tenant_id=tenant_id, scope_id=scope_id, scope=scope, period=period.value, limit_tokens=limit_tokens
        )
        await self._connection.execute(
            statement.on_conflict_do_update(
                index_elements=[budgets.c.scope_id, budgets.c.period], set_={"limit_tokens": limit_tokens}
            )
        )

    async def list(self, tenant_id: UUID, scope_id: UUID) -> list[Budget]:
        """The budgets of one scope, daily before monthly before total."""
        statement = select(budgets).where(budgets.c.tenant_id == tenant_id, budgets.c.scope_id == scope_id)
        rows = (await self._connection.execute(statement)).all()
        by_period = {Period(row.period): row.limit_tokens for row in rows}
        return [Budget(scope_id, period, by_period[period]) for period in Period if period in by_period]

    async def _require(self, tenant_id: UUID, scope: Scope, scope_id: UUID) -> None:
        statement = select(tenants.c.id).where(tenants.c.id == tenant_id, tenants.c.id == scope_id)
        if scope == "key":
            statement = select(api_keys.c.id).where(api_keys.c.tenant_id == tenant_id, api_keys.c.id == scope_id)
        if (await self._connection.execute(statement)).one_or_none() is None:
            raise NotFoundError(f"There is no {scope} '{scope_id}'.")
