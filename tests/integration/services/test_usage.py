"""What was used today, what this month, in the tenant's own days."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from neuronetz_gateway.db.database import Database
from neuronetz_gateway.domain.budget import Period
from neuronetz_gateway.domain.identifier import uuid7
from neuronetz_gateway.domain.limit import Limits
from neuronetz_gateway.domain.tenant import Tenant
from neuronetz_gateway.errors import InvalidRequestError, NotFoundError
from neuronetz_gateway.services.budgets import BudgetRegistry
from neuronetz_gateway.services.tenants import TenantRegistry
from neuronetz_gateway.services.usage import ModelTotals, UsageReport
from tests.support.stores import Stores

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
MIDNIGHT_IN_KOLKATA = datetime(2026, 5, 31, 18, 30, tzinfo=UTC)  # the first of June there


@pytest.fixture
def report(database: Database) -> UsageReport:
    return UsageReport(database, now=lambda: NOON)


@pytest.fixture
def budgets(database: Database) -> BudgetRegistry:
    return BudgetRegistry(database, now=lambda: NOON)


@pytest.fixture
async def tenant(database: Database) -> Tenant:
    registry = TenantRegistry(database, defaults=Limits(), now=lambda: NOON, new_id=uuid7)
    return await registry.create("acme", time_zone="Asia/Kolkata")


async def requested(
    stores: Stores, tenant: Tenant, at: datetime, *, outcome: str = "completed", key: UUID | None = None
) -> None:
    await stores.execute(
        """
        INSERT INTO audit_log (id, tenant_id, api_key_id, request_id, endpoint, model, outcome, status, prompt_tokens,
                               output_tokens, charged_tokens, admitted_at, address, user_agent)
        VALUES (gen_random_uuid(), $1, $2, 'r', '/api/chat', 'qwen3:latest', $3, 200, 3, 4, 7, $4, '127.0.0.1', '')
        """,
        tenant.id,
        key or uuid7(),
        outcome,
        at,
    )


async def test_days_and_months_are_those_of_the_tenant(report: UsageReport, tenant: Tenant, database_url: str) -> None:
    stores = Stores(database_url, "")
    await requested(stores, tenant, MIDNIGHT_IN_KOLKATA - timedelta(seconds=1))
    await requested(stores, tenant, MIDNIGHT_IN_KOLKATA)
    await requested(stores, tenant, NOON)
    await requested(stores, tenant, NOON, outcome="refused")
    overview = await report.of_tenant("acme")
    assert overview.today == overview.month == (ModelTotals("qwen3:latest", 2, 6, 8, 14),)
    assert [budget.window_start for budget in overview.budgets][:2] == [MIDNIGHT_IN_KOLKATA] * 2


async def test_an_earlier_day_counts_for_the_month_alone(database: Database, tenant: Tenant, database_url: str) -> None:
    await requested(Stores(database_url, ""), tenant, NOON)
    overview = await UsageReport(database, now=lambda: NOON + timedelta(days=3)).of_tenant("acme")
    assert overview.today == ()
    assert overview.month == (ModelTotals("qwen3:latest", 1, 3, 4, 7),)


async def test_budgets_are_set_replaced_taken_away(budgets: BudgetRegistry, tenant: Tenant) -> None:
    del tenant
    set_first = await budgets.set_for_tenant("acme", {Period.DAILY: 10, Period.TOTAL: 0})
    assert [budget.limit_tokens for budget in set_first] == [10, None, 0]
    after = await budgets.set_for_tenant("acme", {Period.DAILY: None, Period.TOTAL: 5})
    assert [(budget.limit_tokens, budget.left_tokens) for budget in after] == [(None, None), (None, None), (5, 5)]


async def test_what_cannot_be_set_changes_nothing(budgets: BudgetRegistry, report: UsageReport, tenant: Tenant) -> None:
    del tenant
    with pytest.raises(InvalidRequestError):
        await budgets.set_for_tenant("acme", {Period.DAILY: 10, Period.TOTAL: -1})
    with pytest.raises(NotFoundError):
        await budgets.set_for_key("nz_000000000", {Period.DAILY: 10})
    with pytest.raises(NotFoundError):
        await report.of_key("nz_000000000")
    assert [budget.limit_tokens for budget in (await report.of_tenant("acme")).budgets] == [None] * 3
