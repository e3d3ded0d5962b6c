"""What scopes have used in their budget windows."""

from typing import Literal
from uuid import UUID

from sqlalchemy import and_, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from neuronetz_gateway.db.tables import budget_usage, budgets, tenants
from neuronetz_gateway.domain.budget import BudgetUsage, Period, Windows, window_end
from neuronetz_gateway.errors import NotFoundError


class BudgetUsages:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def current(
        self, tenant_id: UUID, scope: Literal["tenant", "key"], scope_id: UUID, windows: Windows
    ) -> list[BudgetUsage]:
        """Use, hold and limit of one scope in the given windows, one for each period; raises NotFoundError."""
        zone = await self._connection.scalar(select(tenants.c.time_zone).where(tenants.c.id == tenant_id))
        if zone is None:
            raise NotFoundError(f"There is no tenant '{tenant_id}'.")
        limits = await self._limits(tenant_id, scope_id)
        usage = await self._usage(tenant_id, scope_id, windows)
        return [
            BudgetUsage(
                scope=scope,
                period=period,
                window_start=windows.start(period),
                window_end=window_end(windows.start(period), period, zone),
                limit_tokens=limits.get(period),
                used_tokens=usage.get(period, (0, 0))[0],
                reserved_tokens=usage.get(period, (0, 0))[1],
            )
            for period in Period
        ]

    async def _limits(self, tenant_id: UUID, scope_id: UUID) -> dict[Period, int]:
        statement = select(budgets).where(budgets.c.tenant_id == tenant_id, budgets.c.scope_id == scope_id)
        return {Period(row.period): row.limit_tokens for row in (await self._connection.execute(statement)).all()}

    async def _usage(self, tenant_id: UUID, scope_id: UUID, windows: Windows) -> dict[Period, tuple[int, int]]:
        wanted = or_(
            *(
                and_(budget_usage.c.period == period.value, budget_usage.c.window_start == windows.start(period))
                for period in Period
            )
        )
        statement = select(budget_usage).where(
            budget_usage.c.tenant_id == tenant_id, budget_usage.c.scope_id == scope_id, wanted
        )
        rows = (await self._connection.execute(statement)).all()
        return {Period(row.period): (row.used, row.reserved) for row in rows}
