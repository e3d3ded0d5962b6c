"""Tenants, keys and budgets in one line each."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from neuronetz_gateway.domain.api_key import ApiKey
from neuronetz_gateway.domain.budget import Period
from neuronetz_gateway.domain.limit import Limits
from neuronetz_gateway.domain.tenant import Tenant
from neuronetz_gateway.wiring import Services

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Tenancy:
    """A tenant with one key; `key` is what its caller presents."""

    tenant: Tenant
    api_key: ApiKey
    key: str

    @property
    def bearer(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"}


async def make_tenancy(
    services: Services,
    *,
    tenant_limits: Limits | None = None,
    key_limits: Limits | None = None,
    models: Iterable[str] | None = None,
    key_models: Iterable[str] | None = None,
    may_load_models: bool = False,
    budget: dict[Period, int | None] | None = None,
    expires_at: datetime | None = None,
) -> Tenancy:
    """A tenant that may use all models unless `models` names some, with one key of its own."""
    tenant = await services.tenants.create(
        f"tenant-{next(_numbers)}",
        allow_all_models=models is None,
        models=frozenset(models or ()),
        limits=tenant_limits,
    )
    if budget:
        await services.budgets.set_for_tenant(tenant.name, budget)
    return await make_key(
        services,
        tenant,
        limits=key_limits,
        models=key_models,
        may_load_models=may_load_models,
        expires_at=expires_at,
    )


async def make_key(
    services: Services,
    tenant: Tenant,
    *,
    limits: Limits | None = None,
    models: Iterable[str] | None = None,
    may_load_models: bool = False,
    expires_at: datetime | None = None,
) -> Tenancy:
    """Another key of a tenant."""
    issued = await services.api_keys.issue(
        tenant.name,
        f"key-{next(_numbers)}",
        limits=limits or Limits(),
        allowed_models=None if models is None else frozenset(models),
        may_load_models=may_load_models,
        expires_at=expires_at,
    )
    return Tenancy(tenant, issued.api_key, issued.plain.value)
