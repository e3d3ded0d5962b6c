"""Making tenants, changing what they may do."""

import asyncio
from datetime import UTC, datetime

import pytest

from neuronetz_gateway.db.database import Database
from neuronetz_gateway.domain.identifier import uuid7
from neuronetz_gateway.domain.limit import Limits
from neuronetz_gateway.domain.tenant import TenantStatus
from neuronetz_gateway.errors import ConflictError, InvalidRequestError, NotFoundError
from neuronetz_gateway.services.tenants import TenantRegistry
from tests.support.stores import Stores

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
DEFAULTS = Limits(rpm=60, tpm=1000, concurrent=4)


@pytest.fixture
def tenants(database: Database) -> TenantRegistry:
    return TenantRegistry(database, defaults=DEFAULTS, now=lambda: NOW, new_id=uuid7)


async def test_a_new_tenant_has_the_default_limits_but_no_models(tenants: TenantRegistry) -> None:
    tenant = await tenants.create("acme")
    assert (tenant.limits, tenant.allow_all_models, tenant.allowed_models) == (DEFAULTS, False, frozenset())
    assert (tenant.status, tenant.time_zone, tenant.created_at) == (TenantStatus.ACTIVE, "UTC", NOW)
    free = await tenants.create("free", limits=Limits(), models=frozenset({"qwen3:latest"}))
    assert (free.limits, set(free.allowed_models)) == (Limits(), {"qwen3:latest"})
    assert [found.name for found in await tenants.list()] == ["acme", "free"]


async def test_a_name_is_had_once(tenants: TenantRegistry) -> None:
    await tenants.create("acme")
    with pytest.raises(ConflictError):
        await tenants.create("acme")
    with pytest.raises(InvalidRequestError):
        await tenants.create("ACME")
    with pytest.raises(NotFoundError):
        await tenants.get("other")


@pytest.mark.promise("A4")
async def test_every_change_makes_cached_principals_stale(tenants: TenantRegistry) -> None:
    versions = [(await tenants.create("acme")).version]
    versions.append((await tenants.set_limits("acme", {"rpm": 5, "tpm": None})).version)
    versions.append((await tenants.set_models("acme", allow_all=True)).version)
    versions.append((await tenants.suspend("acme", actor="test", reason="")).version)
    versions.append((await tenants.resume("acme", actor="test", reason="")).version)
    assert versions == sorted(set(versions))
    tenant = await tenants.get("acme")
    assert tenant.limits == Limits(rpm=5, tpm=None, concurrent=4)


@pytest.mark.promise("A4")
async def test_two_who_change_different_limits_at_once_both_have_their_way(tenants: TenantRegistry) -> None:
    """Each used to write all limits as it had read them, so a limit just lowered was back at its old figure."""
    await tenants.create("acme", limits=Limits(rpm=1000, tpm=1000))
    for figure in range(1, 11):
        await asyncio.gather(
            tenants.set_limits("acme", {"rpm": figure}),
            tenants.set_limits("acme", {"tpm": figure}),
            tenants.set_models("acme", allow_all=figure % 2 == 0),
            tenants.set_models("acme", models=frozenset({f"m{figure}:latest"})),
        )
        tenant = await tenants.get("acme")
        assert tenant.limits == Limits(rpm=figure, tpm=figure)
        assert (tenant.allow_all_models, tenant.allowed_models) == (figure % 2 == 0, frozenset({f"m{figure}:latest"}))


async def test_models_and_the_word_all_change_apart(tenants: TenantRegistry) -> None:
    await tenants.create("acme", models=frozenset({"a:latest"}))
    assert (await tenants.set_models("acme", allow_all=True)).allowed_models == {"a:latest"}
    tenant = await tenants.set_models("acme", allow_all=False, models=frozenset())
    assert (tenant.allow_all_models, tenant.allowed_models) == (False, frozenset())


async def test_a_suspension_is_written_down_once_with_the_change(tenants: TenantRegistry, database_url: str) -> None:
    tenant = await tenants.create("acme")
    for _ in range(2):
        assert (await tenants.suspend("acme", actor="op", reason="unpaid")).status is TenantStatus.SUSPENDED
    acts = await Stores(database_url, "").fetch(
        "SELECT tenant_id, api_key_id, action, actor, reason, at FROM revocations"
    )
    assert acts == [
        {
            "tenant_id": tenant.id,
            "api_key_id": None,
            "action": "suspended",
            "actor": "op",
            "reason": "unpaid",
            "at": NOW,
        }
    ]
