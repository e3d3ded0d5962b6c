"""How many budgets are how full, over all tenants, naming none."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from neuronetz_gateway.domain.budget import EPOCH, Period, Windows

_ZONES = text("select now() as at, array_agg(distinct time_zone) as zones from tenants where status = 'active'")
# A budget of none (limit 0) is closed on purpose; one that nobody may use any more nobody has to raise.
_FULL = text("""
with windows as (
  select * from unnest(cast(:zones as text[]), cast(:days as timestamptz[]), cast(:months as timestamptz[]))
    as w (time_zone, day, month)
), filled as (
  select b.period, (u.used + u.reserved) * 100.0 / b.limit_tokens as percent
  from budgets b
  join tenants t on t.id = b.tenant_id and t.status = 'active'
  join windows w on w.time_zone = t.time_zone
  join budget_usage u on u.scope_id = b.scope_id and u.period = b.period
    and u.window_start = case b.period when 'daily' then w.day when 'monthly' then w.month else :epoch end
  left join api_keys k on b.scope = 'key' and k.id = b.scope_id
  where b.limit_tokens > 0 and k.revoked_at is null
)
select period, level, count(*) filter (where percent >= level) as budgets
from filled cross join unnest(cast(:levels as integer[])) as level group by period, level
""")


class BudgetLevels:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def zones(self) -> tuple[datetime, list[str]]:
        """The time of Postgres, with the time zones that active tenants have."""
        row = (await self._connection.execute(_ZONES)).one()
        return row.at, list(row.zones or ())

    async def counts(self, windows: Mapping[str, Windows], levels: Sequence[int]) -> dict[tuple[Period, int], int]:
        """By period and percentage: how many budgets that are in force have as much or more of them used or reserved.

        `windows` are the current ones of each time zone.
        """
        parameters: dict[str, Any] = {
            "zones": list(windows),
            "days": [each.day for each in windows.values()],
            "months": [each.month for each in windows.values()],
            "epoch": EPOCH,
            "levels": list(levels),
        }
        rows = (await self._connection.execute(_FULL, parameters)).all()
        found = {(Period(row.period), int(row.level)): int(row.budgets) for row in rows}
        return {(period, level): found.get((period, level), 0) for period in Period for level in levels}
