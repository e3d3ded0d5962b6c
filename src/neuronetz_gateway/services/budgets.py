"""Setting the token budgets of tenants, of keys."""

from collections.abc import Callable, Mapping
from datetime import datetime

from neuronetz_gateway.db.database import Database
from neuronetz_gateway.domain.budget import BudgetUsage, Period, windows_at
from neuronetz_gateway.errors import InvalidRequestError
from neuronetz_gateway.repositories.unit_of_work import unit_of_work

type BudgetChanges = Mapping[Period, int | None]


class BudgetRegistry:
    """Changes hold from the next request on, also below what is already used, since the ledger reads them itself.

    Every method raises NotFoundError for an unknown name or prefix, UnavailableError while Postgres is away.
    """

    def __init__(self, database: Database, *, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    async def set_for_tenant(self, name: str, changes: BudgetChanges) -> list[BudgetUsage]:
        """Sets the tenant's budgets of the given periods in tokens (None takes one away); all three as they stand."""
        _check(changes)
        async with unit_of_work(self._database) as uow:
            tenant = await uow.tenants.get_by_name(name)
            for period, limit_tokens in changes.items():
                await uow.budgets.set(tenant.id, "tenant", tenant.id, period, limit_tokens)
            windows = windows_at(self._now(), tenant.time_zone)
            return await uow.budget_usage.current(tenant.id, "tenant", tenant.id, windows)

    async def set_for_key(self, prefix: str, changes: BudgetChanges) -> list[BudgetUsage]:
        """The same for one key, which narrows what its tenant has."""
        _check(changes)
        async with unit_of_work(self._database) as uow:
            key = await uow.api_keys.get_by_prefix(prefix)
            for period, limit_tokens in changes.items():
                await uow.budgets.set(key.tenant_id, "key", key.id, period, limit_tokens)
            tenant = await uow.tenants.get(key.tenant_id)
            windows = windows_at(self._now(), tenant.time_zone)
            return await uow.budget_usage.current(tenant.id, "key", key.id, windows)


def _check(changes: BudgetChanges) -> None:
    if any(limit_tokens is not None and limit_tokens < 0 for limit_tokens in changes.values()):
        raise InvalidRequestError("A budget is a number of tokens from 0, or none for no budget.")
