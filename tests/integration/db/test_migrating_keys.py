"""What keys have of their own goes forth and back with the schema; no key becomes wider on the way."""

import asyncio
from typing import Any

import asyncpg
import pytest

from neuronetz_gateway.db.migrating import downgrade, migrate
from neuronetz_gateway.embedded.postgres import EmbeddedPostgres
from tests.support.stores import Stores, asyncpg_dsn

KEYS = """insert into api_keys (id, tenant_id, name, secret_hash, digest, pepper_id, prefix)
    select md5(prefix)::uuid, id, prefix, 'hash', 'digest', 'p1', prefix
    from tenants, unnest('{nz_plain,nz_near,nz_nowhere,nz_policed,nz_dead}'::text[]) as prefix"""
SEEN = "select prefix, version, revoked_at is not null as dead from api_keys order by prefix"


@pytest.fixture
def old(postgres: EmbeddedPostgres, request: pytest.FixtureRequest) -> Stores:
    """A database of the release before, with keys in it."""
    name = f"keys_{abs(hash(request.node.name))}"

    async def create() -> None:
        connection = await asyncpg.connect(asyncpg_dsn(postgres.url_of("postgres", role="postgres")))
        await connection.execute(f"CREATE DATABASE {name} OWNER gateway")
        await connection.close()

    asyncio.run(create())
    url = postgres.url_of(name)
    migrate(url)
    downgrade(url, "0003")
    stores = Stores(url, "")
    execute(stores, "insert into tenants (id, name) values (gen_random_uuid(), 'acme')", KEYS)
    return stores


def execute(stores: Stores, *statements: str) -> None:
    for statement in statements:
        asyncio.run(stores.execute(statement))


def seen(stores: Stores) -> dict[str, tuple[int, bool]]:
    return {row["prefix"]: (row["version"], row["dead"]) for row in asyncio.run(stores.fetch(SEEN))}


def own(stores: Stores, column: str) -> dict[str, Any]:
    rows = asyncio.run(stores.fetch(f"select prefix, {column} as own from api_keys"))  # noqa: S608 - a column's name
    return {row["prefix"]: row["own"] for row in rows}


@pytest.mark.promise("P4")
def test_keys_go_forth_and_back_and_forth_again_without_becoming_wider(old: Stores) -> None:
    before = seen(old)
    assert set(before.values()) == {(1, False)}
    migrate(old.database_url)
    assert seen(old) == before
    assert set(own(old, "allowed_networks").values()) == {None}
    execute(
        old,
        "update api_keys set allowed_networks = '{10.0.0.0/8,2001:db8::/32}' where prefix = 'nz_near'",
        "update api_keys set allowed_networks = '{}' where prefix in ('nz_nowhere', 'nz_dead')",
        "update api_keys set revoked_at = '2020-01-01' where prefix = 'nz_dead'",
        "insert into key_policies (api_key_id, tenant_id, max_images) select id, tenant_id, 0 from api_keys"
        " where prefix = 'nz_policed'",
        "insert into key_uses select id, now(), '192.0.2.1' from api_keys",
    )
    changed = {"nz_plain": 1, "nz_near": 2, "nz_nowhere": 2, "nz_policed": 2, "nz_dead": 3}
    assert {prefix: version for prefix, (version, _) in seen(old).items()} == changed
    downgrade(old.database_url, "0003")
    after = seen(old)
    # Dead rather than good from anywhere; a version for all that lost something, so that no cache still has it.
    assert after == {
        "nz_plain": (1, False), "nz_near": (3, True), "nz_nowhere": (3, True), "nz_policed": (4, True),
        "nz_dead": (3, True),
    }  # fmt: skip
    assert own(old, "revoked_at")["nz_dead"].year == 2020
    execute(old, "update api_keys set name = 'another' where prefix = 'nz_plain'")
    assert seen(old)["nz_plain"] == (2, False)
    migrate(old.database_url)
    assert seen(old) == after | {"nz_plain": (2, False)}
    assert set(own(old, "allowed_networks").values()) == {None}
    assert asyncio.run(old.fetch("select 1 from key_policies union all select 1 from key_uses")) == []
    execute(old, "update api_keys set allowed_networks = '{}' where prefix = 'nz_plain'")
    assert seen(old)["nz_plain"] == (3, False)


@pytest.mark.promise("P4")
@pytest.mark.parametrize(
    ("policy", "dead"),
    [
        ("max_images = 0", True),
        ("max_embedding_inputs = 5", True),
        ("max_logprobs = 0", True),
        ("allow_context = false", True),
        ("max_keep_alive_seconds = 60, may_load_models = true", True),
        ("max_keep_alive_seconds = 60", False),
        ("max_num_ctx = 8192, allow_raw = true, allow_context = true", False),
        ("allow_raw = false", False),
    ],
)
def test_a_key_whose_policy_the_release_before_would_not_hold_to_is_revoked(
    old: Stores, policy: str, dead: bool
) -> None:
    """The release before bounds neither images nor texts to embed, gives 20 logprobs, takes any context, lets loads
    last: a key that was held to less went back as one that may do all of it, without a word."""
    migrate(old.database_url)
    execute(
        old,
        "insert into key_policies (api_key_id, tenant_id) select id, tenant_id from api_keys where prefix = 'nz_near'",
        "update api_keys set revoked_at = '2020-01-01' where prefix = 'nz_dead'",
        # the old ones of rotations, which live on for a while
        "update api_keys set revoked_at = '2100-01-01' where prefix in ('nz_near', 'nz_nowhere')",
        "update api_keys set allowed_networks = '{}' where prefix = 'nz_nowhere'",
        "insert into key_policies (api_key_id, tenant_id, max_images) select id, tenant_id, 0 from api_keys"
        " where prefix = 'nz_dead'",
    )
    for change in policy.split(", "):
        table, where = ("api_keys", "prefix = 'nz_near'") if "may_load" in change else ("key_policies", "true")
        execute(old, f"update {table} set {change} where {where}")  # noqa: S608 - literals of this file
    downgrade(old.database_url, "0003")
    gone = {prefix for prefix, is_gone in own(old, "revoked_at <= now()").items() if is_gone}
    assert gone == {"nz_dead", "nz_nowhere"} | ({"nz_near"} if dead else set())
    assert own(old, "revoked_at")["nz_dead"].year == 2020


@pytest.mark.parametrize(
    "networks", ["array[null]::cidr[]", "'{10.0.0.0/8,NULL}'", "'{{10.0.0.0/8}}'", "'{10.0.0.1/8}'"]
)
def test_sql_cannot_write_what_is_no_list_of_networks(old: Stores, networks: str) -> None:
    """A null among the networks was stored, read as the text None, and every request of the key answered 500."""
    migrate(old.database_url)
    with pytest.raises(
        (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.FeatureNotSupportedError)
    ):
        execute(old, f"update api_keys set allowed_networks = {networks}")  # noqa: S608 - literals of this file
    execute(old, "update api_keys set allowed_networks = '{}'", "update api_keys set allowed_networks = null")


@pytest.mark.parametrize(
    "column",
    [
        "max_keep_alive_seconds = -1",
        "max_num_ctx = -1",
        "max_images = -1",
        "max_embedding_inputs = 0",
        "max_logprobs = 21",
    ],
)
def test_sql_cannot_write_a_policy_that_means_nothing(old: Stores, column: str) -> None:
    migrate(old.database_url)
    execute(old, "insert into key_policies (api_key_id, tenant_id) select id, tenant_id from api_keys")
    with pytest.raises(asyncpg.CheckViolationError):
        execute(old, f"update key_policies set {column}")  # noqa: S608 - a column's name
