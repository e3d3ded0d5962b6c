"""Every query on tenant data takes the tenant first (STYLE rule 17)."""

import inspect
from uuid import UUID

import pytest

from neuronetz_gateway.repositories.adjustments import Adjustments
from neuronetz_gateway.repositories.api_keys import ApiKeys
from neuronetz_gateway.repositories.audit_log import AuditLog
from neuronetz_gateway.repositories.budget_usage import BudgetUsages
from neuronetz_gateway.repositories.budgets import Budgets
from neuronetz_gateway.repositories.key_limits import KeyLimits
from neuronetz_gateway.repositories.revocations import Revocations
from neuronetz_gateway.repositories.tenants import Tenants

# Each stands here with its reason.
WITHOUT_TENANT = {
    "Adjustments.find_row",  # operators name a row by its id, which tells whose it is
    "ApiKeys.find_by_prefix",  # authentication learns the tenant by it
    "ApiKeys.find_by_prefixes",  # the same for many at once
    "ApiKeys.get_by_prefix",  # operators name keys by their prefix
    "Revocations.find_lost",  # each process cuts the streams of whichever tenant
    "Tenants.get_by_name",  # operators name tenants
    "Tenants.list",  # operators
}


@pytest.mark.promise("A12")
@pytest.mark.parametrize(
    "repository", [Adjustments, ApiKeys, AuditLog, BudgetUsages, Budgets, KeyLimits, Revocations, Tenants]
)
def test_the_tenant_comes_first(repository: type) -> None:
    for name, method in inspect.getmembers(repository, inspect.isfunction):
        if name.startswith("_") or f"{repository.__name__}.{name}" in WITHOUT_TENANT:
            continue
        _, first, *_ = inspect.signature(method).parameters.values()
        assert (first.name, first.annotation) == ("tenant_id", UUID), f"{repository.__name__}.{name}"
