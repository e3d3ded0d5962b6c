"""Versions move with every change that matters, whoever makes it (PROMISES A4)."""

import pytest

from neuronetz_gateway.domain.principal import Principal
from tests.support.ledgers import World

pytestmark = pytest.mark.promise("A4")


async def _versions(world: World, principal: Principal) -> tuple[int, int]:
    now = await world.principal(principal.key_prefix)
    return now.tenant_version, now.key_version


@pytest.mark.parametrize(
    "change",
    [
        "status = 'suspended'",
        "time_zone = 'Europe/Berlin'",
        "allow_all_models = true",
        "allowed_models = '{llama3:latest}'",
        "rpm = 1",
        "tpm = 1",
        "concurrent = 1",
        "output_cap = 1",
        "name = 'another'",
    ],
)
async def test_any_change_of_a_tenant_moves_its_version(world: World, change: str) -> None:
    principal = await world.caller()
    update = f"update tenants set {change} where id = $1"  # noqa: S608 - the test's own words
    await world.sql(update, principal.tenant_id)
    assert await _versions(world, principal) == (2, 1)
    await world.sql(update, principal.tenant_id)
    assert await _versions(world, principal) == (2, 1), "nothing has changed"


@pytest.mark.parametrize(
    "change",
    [
        "revoked_at = now()",
        "expires_at = now()",
        "allowed_models = '{}'",
        "name = 'another'",
        "may_load_models = true",
        "prompt_log_seconds = 60",
        "allowed_networks = '{10.0.0.0/8}'",
    ],
)
async def test_a_change_of_what_a_key_may_moves_its_version(world: World, change: str) -> None:
    principal = await world.caller()
    update = f"update api_keys set {change} where id = $1"  # noqa: S608 - the test's own words
    await world.sql(update, principal.api_key_id)
    assert await _versions(world, principal) == (1, 2)


async def test_the_gateways_own_bookkeeping_on_a_key_moves_nothing(world: World) -> None:
    principal = await world.caller()
    await world.sql(
        "update api_keys set proven_at = now(), secret_hash = 'new', digest = 'new', pepper_id = 'p2' where id = $1",
        principal.api_key_id,
    )
    assert await _versions(world, principal) == (1, 1)


async def test_another_secret_under_the_same_pepper_moves_the_version(world: World) -> None:
    """An operator put another secret into a key by SQL; whoever had the old one was let in from the caches for minutes.

    A digest that changes together with its pepper is a rotation of peppers; one that changes alone is another key.
    """
    principal = await world.caller()
    await world.sql("update api_keys set secret_hash = 'x', digest = 'x' where id = $1", principal.api_key_id)
    assert await _versions(world, principal) == (1, 2)


async def test_every_change_of_a_keys_policy_moves_the_keys_version(world: World) -> None:
    principal = await world.caller()
    ids = principal.api_key_id, principal.tenant_id
    await world.sql("insert into key_policies (api_key_id, tenant_id, max_num_ctx) values ($1, $2, 10)", *ids)
    await world.sql("update key_policies set allow_raw = true")
    await world.sql("delete from key_policies")
    assert await _versions(world, principal) == (1, 4)


async def test_every_change_of_a_keys_limits_moves_the_keys_version(world: World) -> None:
    principal = await world.caller()
    ids = principal.api_key_id, principal.tenant_id
    await world.sql("insert into key_limits (api_key_id, tenant_id, rpm) values ($1, $2, 10)", *ids)
    assert await _versions(world, principal) == (1, 2)
    await world.sql("update key_limits set rpm = 5 where api_key_id = $1", principal.api_key_id)
    assert await _versions(world, principal) == (1, 3)
    await world.sql("delete from key_limits where api_key_id = $1", principal.api_key_id)
    assert await _versions(world, principal) == (1, 4)


@pytest.mark.parametrize(
    ("table", "column"), [("key_policies", "max_images"), ("key_limits", "rpm")], ids=["policies", "limits"]
)
async def test_emptying_what_keys_have_of_their_own_moves_the_version_of_each(
    world: World, table: str, column: str
) -> None:
    """No trigger of a row fires on TRUNCATE: the caches went on with policies and limits that were gone."""
    principals = [await world.caller(), await world.caller()]
    insert = f"insert into {table} (api_key_id, tenant_id, {column}) values ($1, $2, 10)"  # noqa: S608 - of this file
    await world.sql(insert, principals[0].api_key_id, principals[0].tenant_id)
    before = [(await _versions(world, principal))[1] for principal in principals]
    await world.sql(f"truncate {table}")
    after = [(await _versions(world, principal))[1] for principal in principals]
    assert after == [version + 1 for version in before]


async def test_a_version_never_goes_back(world: World) -> None:
    principal = await world.caller()
    await world.sql("update tenants set status = 'suspended' where id = $1", principal.tenant_id)
    await world.sql("update tenants set version = 1, status = 'active' where id = $1", principal.tenant_id)
    await world.sql("update tenants set version = 1 where id = $1", principal.tenant_id)
    assert await _versions(world, principal) == (3, 1)
