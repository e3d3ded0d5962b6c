"""Making keys, taking them away, changing what they may do; the witness is the database."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from neuronetz_gateway.domain.api_key import PlainKey
from neuronetz_gateway.domain.budget import Period
from neuronetz_gateway.domain.limit import Limits
from neuronetz_gateway.errors import ConflictError, NotFoundError
from tests.support.authenticating import ADDRESS, Authentication, authentication
from tests.support.stores import Stores


@pytest.fixture
async def one(stores: Stores) -> AsyncIterator[Authentication]:
    async with authentication(stores) as one:
        yield one


async def test_an_issued_key_has_the_stated_shape_and_authenticates(one: Authentication) -> None:
    await one.tenants.create("acme", models=frozenset({"qwen3:8b", "llama3.2:latest"}))
    ends = datetime.now(UTC) + timedelta(days=1)
    issued = await one.keys.issue(
        "acme", "ci", limits=Limits(rpm=5, output_cap=9), allowed_models=frozenset({"qwen3:8b"}), expires_at=ends
    )
    assert PlainKey.parse(issued.plain.value) == issued.plain
    assert issued.plain.prefix == issued.api_key.prefix
    principal = await one.authenticator.authenticate(issued.plain.value, ADDRESS)
    assert (principal.key_limits, principal.expires_at) == (Limits(rpm=5, output_cap=9), ends)
    assert principal.allowed_models == {"qwen3:8b"}


async def test_a_key_for_an_unknown_tenant_is_not_made(one: Authentication, stores: Stores) -> None:
    with pytest.raises(NotFoundError):
        await one.keys.issue("nobody", "ci")
    assert await stores.fetch("select 1 from api_keys") == []


@pytest.mark.promise("A7")
async def test_the_secret_is_nowhere_in_the_database_or_in_a_repr(one: Authentication, stores: Stores) -> None:
    issued = await one.issued()
    await one.authenticator.authenticate(issued.plain.value, ADDRESS)
    await one.background.flush()
    tables = await stores.fetch("select tablename from pg_tables where schemaname = 'public'")
    secret = issued.plain.value[len(issued.plain.prefix) :]
    dump = ""
    for table in tables:
        name = table["tablename"]
        dump += str(await stores.fetch(f"select t::text from {name} t"))  # noqa: S608 - names out of the catalogue
    assert issued.plain.prefix in dump
    assert secret not in dump + repr(issued)
    assert secret.encode().hex() not in dump


async def test_a_list_names_every_key_of_its_tenant_alone(one: Authentication) -> None:
    first, other = await one.issued("acme"), await one.issued("other")
    second = await one.keys.issue("acme", "second")
    await one.keys.revoke(first.plain.prefix, actor="test", reason="")
    assert [key.prefix for key in await one.keys.list("acme")] == [first.plain.prefix, second.plain.prefix]
    assert [key.prefix for key in await one.keys.list("other")] == [other.plain.prefix]
    with pytest.raises(NotFoundError):
        await one.keys.list("nobody")


async def test_a_revocation_says_who_when_and_why_once(one: Authentication, stores: Stores) -> None:
    issued = await one.issued()
    key = await one.keys.revoke(issued.plain.prefix, actor="ada", reason="leaked")
    again = await one.keys.revoke(issued.plain.prefix, actor="bob", reason="again")
    assert key.revoked_at is not None
    assert again.revoked_at == key.revoked_at
    assert key.version > issued.api_key.version
    rows = await stores.fetch("select api_key_id, action, actor, reason, at from revocations")
    assert [(row["api_key_id"], row["action"], row["actor"], row["reason"]) for row in rows] == [
        (key.id, "revoked", "ada", "leaked")
    ]


async def test_an_unknown_prefix_is_named_a_whole_key_never_repeated(one: Authentication) -> None:
    whole = "nz_abcdefghi" + "S" * 32
    for call in (
        one.keys.revoke(whole, actor="test", reason=""),
        one.keys.rotate(whole, overlap_seconds=0, actor="test"),
        one.keys.set_limits(whole, {}),
        one.keys.set_models(whole, None),
        one.keys.set_loading(whole, allowed=True),
    ):
        with pytest.raises(NotFoundError) as caught:
            await call
        assert caught.value.message == (
            "There is no key with the prefix nz_abcdefghi; list-keys --tenant NAME shows them."
        )


async def test_a_rotation_hands_everything_over_and_lets_the_old_key_end(one: Authentication, stores: Stores) -> None:
    await one.tenants.create("acme", allow_all_models=True)
    old = await one.keys.issue("acme", "ci", limits=Limits(rpm=5), allowed_models=frozenset({"qwen3:8b"}))
    await stores.execute(
        "insert into budgets (tenant_id, scope_id, scope, period, limit_tokens) values ($1, $2, 'key', 'daily', 500)",
        old.api_key.tenant_id,
        old.api_key.id,
    )
    before = datetime.now(UTC)
    new = await one.keys.rotate(old.plain.prefix, overlap_seconds=3600, actor="ada")
    assert new.plain != old.plain
    assert (new.api_key.name, new.api_key.limits, new.api_key.allowed_models, new.api_key.expires_at) == (
        "ci",
        Limits(rpm=5),
        frozenset({"qwen3:8b"}),
        None,
    )
    (budget,) = await stores.fetch("select * from budgets where scope_id = $1", new.api_key.id)
    assert (budget["period"], budget["limit_tokens"], budget["scope"]) == (Period.DAILY, 500, "key")
    ended = next(key for key in await one.keys.list("acme") if key.id == old.api_key.id)
    assert ended.revoked_at is None
    assert ended.expires_at is not None
    assert timedelta(seconds=3599) < ended.expires_at - before < timedelta(seconds=3630)
    (row,) = await stores.fetch("select * from revocations")
    assert (row["api_key_id"], row["action"], row["actor"]) == (old.api_key.id, "rotated", "ada")
    assert row["reason"] == f"replaced by {new.plain.prefix}"
    for plain in (old.plain, new.plain):
        await one.authenticator.authenticate(plain.value, ADDRESS)


async def test_a_rotation_never_lengthens_the_life_of_a_key(one: Authentication) -> None:
    await one.tenants.create("acme")
    ends = datetime.now(UTC) + timedelta(minutes=5)
    old = await one.keys.issue("acme", "ci", expires_at=ends)
    new = await one.keys.rotate(old.plain.prefix, overlap_seconds=3600, actor="ada")
    assert {key.expires_at for key in await one.keys.list("acme")} == {ends}
    assert new.api_key.expires_at == ends


async def test_a_dead_key_is_not_rotated_back_to_life(one: Authentication) -> None:
    revoked, expired = await one.issued("acme"), await one.issued("other")
    await one.keys.revoke(revoked.plain.prefix, actor="test", reason="")
    await one.keys.rotate(expired.plain.prefix, overlap_seconds=0, actor="test")
    for dead in (revoked, expired):
        with pytest.raises(ConflictError):
            await one.keys.rotate(dead.plain.prefix, overlap_seconds=10, actor="test")
    assert len(await one.keys.list("acme")) == 1


async def test_limits_change_one_by_one_and_make_the_principal_stale(one: Authentication) -> None:
    issued = await one.issued(limits=Limits(rpm=5, tpm=100))
    changed = await one.keys.set_limits(issued.plain.prefix, {"tpm": None, "concurrent": 2})
    assert changed.limits == Limits(rpm=5, concurrent=2)
    assert changed.version > issued.api_key.version
    same = await one.keys.set_limits(issued.plain.prefix, {"rpm": 5})
    assert same.version == changed.version


async def test_models_are_replaced_none_inherits_empty_denies(one: Authentication) -> None:
    issued = await one.issued()
    for models in (frozenset({"qwen3:8b"}), frozenset[str](), None):
        changed = await one.keys.set_models(issued.plain.prefix, models)
        assert changed.allowed_models == models
        principal = await one.authenticator.authenticate(issued.plain.value, ADDRESS, fresh=True)
        assert principal.allows("qwen3:8b") is (models != frozenset())
        assert principal.allows("llama3.2:latest") is (models is None)


async def test_only_a_key_that_was_told_so_may_load_models(one: Authentication) -> None:
    await one.tenants.create("acme", allow_all_models=True)
    told = await one.keys.issue("acme", "warmer", may_load_models=True)
    other = await one.keys.issue("acme", "ci")
    assert (told.api_key.may_load_models, other.api_key.may_load_models) == (True, False)
    assert (await one.authenticator.authenticate(told.plain.value, ADDRESS)).may_load_models
    assert not (await one.authenticator.authenticate(other.plain.value, ADDRESS)).may_load_models


async def test_loading_is_given_and_taken_by_prefix_which_makes_the_principal_stale(one: Authentication) -> None:
    issued = await one.issued()
    version = issued.api_key.version
    for allowed in (True, False):
        changed = await one.keys.set_loading(issued.plain.prefix, allowed=allowed)
        assert (changed.may_load_models, changed.version > version) == (allowed, True)
        principal = await one.authenticator.authenticate(issued.plain.value, ADDRESS, fresh=True)
        assert principal.may_load_models is allowed
        version = changed.version
    same = await one.keys.set_loading(issued.plain.prefix, allowed=False)
    assert same.version == version


async def test_a_rotation_keeps_what_a_key_may_load(one: Authentication) -> None:
    await one.tenants.create("acme")
    for allowed in (True, False):
        old = await one.keys.issue("acme", "ci", may_load_models=allowed)
        new = await one.keys.rotate(old.plain.prefix, overlap_seconds=0, actor="ada")
        assert new.api_key.may_load_models is allowed
