"""Tenants, keys, limits, budgets, revocations: values in, values out."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from neuronetz_gateway.domain.api_key import ApiKey
from neuronetz_gateway.domain.budget import Budget, Period
from neuronetz_gateway.domain.identifier import uuid7
from neuronetz_gateway.domain.limit import Limits
from neuronetz_gateway.domain.tenant import TenantStatus
from neuronetz_gateway.errors import ConflictError, NotFoundError
from neuronetz_gateway.repositories.revocations import RevocationAction
from neuronetz_gateway.repositories.unit_of_work import UnitOfWork, unit_of_work
from tests.support.ledgers import World

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


async def _add_key(uow: UnitOfWork, tenant_id: UUID, prefix: str = "nz_aaaaaaaaa") -> ApiKey:
    return await uow.api_keys.add(
        tenant_id, uuid7(), name="ci", prefix=prefix, secret_hash="hash", digest=b"digest", pepper_id="p1",
        created_at=NOW,
    )  # fmt: skip


async def test_a_new_tenant_has_no_models_and_no_limits(world: World) -> None:
    async with unit_of_work(world.database) as uow:
        added = await uow.tenants.add(uuid7(), "acme", created_at=NOW)
        assert added == await uow.tenants.get_by_name("acme") == await uow.tenants.get(added.id)
        assert [added] == await uow.tenants.list()
    assert (added.status, added.allowed_models, added.allow_all_models) == (TenantStatus.ACTIVE, frozenset(), False)
    assert (added.limits, added.time_zone, added.version, added.created_at) == (Limits(), "UTC", 1, NOW)


async def test_a_taken_name_is_a_conflict_after_which_the_transaction_goes_on(world: World) -> None:
    async with unit_of_work(world.database) as uow:
        tenant = await uow.tenants.add(uuid7(), "acme", created_at=NOW)
        with pytest.raises(ConflictError, match="acme"):
            await uow.tenants.add(uuid7(), "acme", created_at=NOW)
        await _add_key(uow, tenant.id)
        with pytest.raises(ConflictError, match="nz_aaaaaaaaa"):
            await _add_key(uow, tenant.id)
        await uow.tenants.set_status(tenant.id, TenantStatus.SUSPENDED)
    async with unit_of_work(world.database) as uow:
        assert (await uow.tenants.get_by_name("acme")).status is TenantStatus.SUSPENDED


async def test_an_error_rolls_everything_back(world: World) -> None:
    async def fail() -> None:
        async with unit_of_work(world.database) as uow:
            await uow.tenants.add(uuid7(), "acme", created_at=NOW)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    async with unit_of_work(world.database) as uow:
        assert await uow.tenants.list() == []


async def test_what_does_not_exist_is_not_found(world: World) -> None:
    async with unit_of_work(world.database) as uow:
        tenant = await uow.tenants.add(uuid7(), "acme", created_at=NOW)
        assert await uow.api_keys.find_by_prefix("nz_unknown00") is None
        for lookup in (
            uow.tenants.get_by_name("nobody"),
            uow.tenants.set_limits(uuid7(), {"rpm": 1}),
            uow.api_keys.get_by_prefix("nz_unknown00"),
            uow.api_keys.revoke(tenant.id, uuid7(), NOW),
            uow.key_limits.set(tenant.id, uuid7(), {"rpm": 1}),
            uow.budgets.set(tenant.id, "key", uuid7(), Period.DAILY, 1),
            uow.budgets.set(tenant.id, "tenant", uuid7(), Period.DAILY, 1),
        ):
            with pytest.raises(NotFoundError):
                await lookup


@pytest.mark.promise("A12")
async def test_another_tenants_key_cannot_be_named(world: World) -> None:
    async with unit_of_work(world.database) as uow:
        one, other = [await uow.tenants.add(uuid7(), name, created_at=NOW) for name in ("one", "other")]
        key = await _add_key(uow, one.id)
        for attempt in (
            uow.api_keys.get(other.id, key.id),
            uow.api_keys.revoke(other.id, key.id, NOW),
            uow.api_keys.set_models(other.id, key.id, ["llama3:latest"]),
            uow.api_keys.set_loading(other.id, key.id, allowed=True),
            uow.key_limits.set(other.id, key.id, {"rpm": 1}),
            uow.budgets.set(other.id, "key", key.id, Period.DAILY, 0),
        ):
            with pytest.raises(NotFoundError):
                await attempt
        assert not await uow.api_keys.set_proven(other.id, key.id, NOW, verified_hash="hash", secret_hash="forged")
        assert await uow.api_keys.list(other.id) == []
        assert await uow.api_keys.list(one.id) == [key]
        record = await uow.api_keys.find_by_prefix(key.prefix)
    assert record is not None
    assert record.credential.secret_hash == "hash"


async def test_a_record_flattens_a_key_with_its_tenant_whatever_their_state(world: World) -> None:
    async with unit_of_work(world.database) as uow:
        tenant = await uow.tenants.add(
            uuid7(), "acme", created_at=NOW, time_zone="Asia/Tokyo", allowed_models=["a:latest", "b:latest"],
            limits=Limits(rpm=10, output_cap=7),
        )  # fmt: skip
        key = await _add_key(uow, tenant.id)
        await uow.api_keys.set_models(tenant.id, key.id, ["b:latest", "c:latest"])
        await uow.key_limits.set(tenant.id, key.id, {"rpm": 20, "tpm": 5})
        await uow.api_keys.set_expiry(tenant.id, key.id, NOW + timedelta(days=1))
        revoked = await uow.api_keys.revoke(tenant.id, key.id, NOW)
        again = await uow.api_keys.revoke(tenant.id, key.id, NOW + timedelta(hours=1))
        await uow.tenants.set_status(tenant.id, TenantStatus.SUSPENDED)
        record = await uow.api_keys.find_by_prefix(key.prefix)
    assert record is not None
    assert again == revoked
    assert (record.revoked_at, record.tenant_status) == (NOW, TenantStatus.SUSPENDED)
    principal = record.principal
    assert principal.allowed_models == {"b:latest"}
    assert principal.limits == Limits(rpm=10, tpm=5, output_cap=7)
    assert (principal.tenant_limits, principal.key_limits) == (Limits(rpm=10, output_cap=7), Limits(rpm=20, tpm=5))
    assert (principal.time_zone, principal.expires_at) == ("Asia/Tokyo", NOW + timedelta(days=1))
    assert (principal.tenant_version, principal.key_version) == (2, revoked.version)
    assert "hash" not in repr(record)
    assert "digest=" not in repr(record)


async def test_a_key_may_load_no_model_until_it_is_told_so(world: World) -> None:
    async with unit_of_work(world.database) as uow:
        tenant = await uow.tenants.add(uuid7(), "acme", created_at=NOW)
        key = await _add_key(uow, tenant.id)
        assert not key.may_load_models
        for allowed in (True, True, False):
            changed = await uow.api_keys.set_loading(tenant.id, key.id, allowed=allowed)
            record = await uow.api_keys.find_by_prefix(key.prefix)
            assert record is not None
            assert (changed.may_load_models, record.principal.may_load_models) == (allowed, allowed)
            assert record.principal.key_version == changed.version
    assert changed.version == key.version + 2


async def test_a_proof_is_recorded_with_what_was_made_anew(world: World) -> None:
    async with unit_of_work(world.database) as uow:
        tenant = await uow.tenants.add(uuid7(), "acme", created_at=NOW)
        key = await _add_key(uow, tenant.id)
        await uow.api_keys.set_proven(tenant.id, key.id, NOW, verified_hash="hash")
        await uow.api_keys.set_proven(tenant.id, key.id, NOW, verified_hash="hash", digest=b"new", pepper_id="p2")
        record = await uow.api_keys.find_by_prefix(key.prefix)
    assert record is not None
    credential = record.credential
    assert (credential.proven_at, credential.secret_hash, credential.digest, credential.pepper_id) == (
        NOW, "hash", b"new", "p2",
    )  # fmt: skip
    assert record.principal.key_version == 1


async def test_budgets_are_set_and_taken_away(world: World) -> None:
    async with unit_of_work(world.database) as uow:
        tenant = await uow.tenants.add(uuid7(), "acme", created_at=NOW)
        for period, limit in ((Period.TOTAL, 9), (Period.DAILY, 5), (Period.DAILY, 6)):
            await uow.budgets.set(tenant.id, "tenant", tenant.id, period, limit)
        assert await uow.budgets.list(tenant.id, tenant.id) == [
            Budget(tenant.id, Period.DAILY, 6),
            Budget(tenant.id, Period.TOTAL, 9),
        ]
        await uow.budgets.set(tenant.id, "tenant", tenant.id, Period.DAILY, None)
        assert await uow.budgets.list(tenant.id, tenant.id) == [Budget(tenant.id, Period.TOTAL, 9)]


async def test_revocations_are_listed(world: World) -> None:
    async with unit_of_work(world.database) as uow:
        tenant = await uow.tenants.add(uuid7(), "acme", created_at=NOW)
        key = await _add_key(uow, tenant.id)
        acts = [
            await uow.revocations.add(
                tenant.id, uuid7(), api_key_id=key_id, action=action, actor="ops", reason="leaked", at=at
            )
            for key_id, action, at in (
                (key.id, RevocationAction.REVOKED, NOW),
                (None, RevocationAction.SUSPENDED, NOW + timedelta(seconds=5)),
            )
        ]
        assert await uow.revocations.list(tenant.id) == acts
