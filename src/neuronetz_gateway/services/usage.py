"""What a tenant or a key has used, held against what it may use."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID
from zoneinfo import ZoneInfo

from neuronetz_gateway.db.database import Database
from neuronetz_gateway.domain.api_key import ApiKey
from neuronetz_gateway.domain.budget import BudgetUsage, windows_at
from neuronetz_gateway.domain.day_range import AskedDays, DayRange
from neuronetz_gateway.domain.tenant import Tenant
from neuronetz_gateway.repositories.unit_of_work import UnitOfWork, unit_of_work
from neuronetz_gateway.repositories.usage_sums import KeyUsage, ModelUsage, UsageDays

_MOST_KEYS = 20


@dataclass(frozen=True, slots=True)
class ModelTotals:
    """What one model was used for in a window: admitted requests with the tokens they were charged."""

    model: str
    requests: int
    prompt_tokens: int
    output_tokens: int
    charged_tokens: int


@dataclass(frozen=True, slots=True)
class PeriodUsage:
    """The usage of some days, by day and model; of a tenant also by key, those that used most."""

    days: DayRange
    by_day: tuple[ModelUsage, ...]
    by_key: tuple[KeyUsage, ...]


@dataclass(frozen=True, slots=True)
class UsageOverview:
    """The usage of a tenant, or of one of its keys; today and month are those of the tenant's time zone."""

    tenant: Tenant
    key: ApiKey | None
    budgets: tuple[BudgetUsage, ...]
    today: tuple[ModelTotals, ...]
    month: tuple[ModelTotals, ...]
    at: datetime
    period: PeriodUsage | None = None


class UsageReport:
    """Reads usage; raises NotFoundError for an unknown name or prefix, UnavailableError while Postgres is away."""

    def __init__(self, database: Database, *, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    async def of_tenant(self, name: str, asked: AskedDays | None = None) -> UsageOverview:
        """The usage of a tenant; its period is None unless days are asked for."""
        async with unit_of_work(self._database) as uow:
            return await self._overview(uow, await uow.tenants.get_by_name(name), None, asked)

    async def of_key(self, prefix: str, asked: AskedDays | None = None) -> UsageOverview:
        """The usage of one key, with the budgets of its tenant, which bind it too."""
        async with unit_of_work(self._database) as uow:
            key = await uow.api_keys.get_by_prefix(prefix)
            return await self._overview(uow, await uow.tenants.get(key.tenant_id), key, asked)

    async def _overview(
        self, uow: UnitOfWork, tenant: Tenant, key: ApiKey | None, asked: AskedDays | None
    ) -> UsageOverview:
        now = self._now()
        windows = windows_at(now, tenant.time_zone)
        budgets = await uow.budget_usage.current(tenant.id, "tenant", tenant.id, windows)
        if key is not None:
            budgets += await uow.budget_usage.current(tenant.id, "key", key.id, windows)
        of_key: UUID | None = None if key is None else key.id
        month = UsageDays(tenant.id, tenant.time_zone, windows.month)
        days = await uow.usage_sums.by_model(month, of_key)
        today = now.astimezone(ZoneInfo(tenant.time_zone)).date()
        return UsageOverview(
            tenant=tenant,
            key=key,
            budgets=tuple(budgets),
            today=_totals(days, lambda day: day == today),
            month=_totals(days, lambda _: True),
            at=now,
            period=None if asked is None else await _period(uow, tenant, of_key, asked.on(today)),
        )


async def _period(uow: UnitOfWork, tenant: Tenant, of_key: UUID | None, days: DayRange) -> PeriodUsage:
    of = UsageDays(tenant.id, tenant.time_zone, *days.moments(tenant.time_zone))
    by_day = await uow.usage_sums.by_model(of, of_key)
    by_key = await uow.usage_sums.by_key(of, _MOST_KEYS) if of_key is None else ()
    return PeriodUsage(days, tuple(by_day), tuple(by_key))


def _totals(days: Iterable[ModelUsage], counts: Callable[[date], bool]) -> tuple[ModelTotals, ...]:
    """The usage of the days that count, summed by model, the most used first."""
    summed: dict[str, ModelTotals] = {}
    for day in days:
        if counts(day.day):
            before = summed.get(day.model, ModelTotals(day.model, 0, 0, 0, 0))
            summed[day.model] = ModelTotals(
                day.model,
                before.requests + day.requests,
                before.prompt_tokens + day.prompt_tokens,
                before.output_tokens + day.output_tokens,
                before.charged_tokens + day.charged_tokens,
            )
    return tuple(sorted(summed.values(), key=lambda totals: (-totals.charged_tokens, totals.model)))
