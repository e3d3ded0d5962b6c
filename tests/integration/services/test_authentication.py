"""From a presented key to a principal, over real stores: who is let in, who is not, what it costs."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator

import pytest

from neuronetz_gateway.domain.api_key import PlainKey
from neuronetz_gateway.domain.limit import Limits
from neuronetz_gateway.errors import GatewayError, TenantSuspendedError, UnauthenticatedError
from neuronetz_gateway.services.authentication import Authenticator
from tests.support.authenticating import ADDRESS, Authentication, Given, authentication
from tests.support.stores import Stores

UNKNOWN = "nz_" + "0" * 41
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@pytest.fixture
async def one(stores: Stores) -> AsyncIterator[Authentication]:
    async with authentication(stores) as one:
        yield one


async def refusal(authenticator: Authenticator, presented: str | None, *, fresh: bool = False) -> GatewayError:
    try:
        await authenticator.authenticate(presented, ADDRESS, fresh=fresh)
    except GatewayError as error:
        return error
    raise AssertionError("it was let in")


def face(error: GatewayError) -> tuple[object, ...]:
    """Everything of an error that could reach its caller."""
    return type(error), error.status, error.code, error.message, error.field, error.retry_after_seconds, error.args


def wrong(plain: PlainKey) -> str:
    """A key with the same prefix, another secret."""
    return plain.prefix + "".join(random.Random(1).choices(ALPHABET, k=32))


async def test_a_good_key_is_its_principal_with_all_that_it_may(one: Authentication) -> None:
    issued = await one.issued(limits=Limits(rpm=7))
    principal = await one.authenticator.authenticate(issued.plain.value, ADDRESS)
    assert (principal.api_key_id, principal.tenant_name) == (issued.api_key.id, "acme")
    assert principal.limits.rpm == 7
    assert principal.allow_all_models


async def test_a_known_key_costs_no_look_up_at_all(one: Authentication) -> None:
    issued = await one.issued()
    first = await one.authenticator.authenticate(issued.plain.value, ADDRESS)
    assert await one.authenticator.authenticate(issued.plain.value, ADDRESS) is first
    assert (one.lookup.finds, one.hasher.verifications, one.hasher.compares) == (1, 1, 1)


@pytest.mark.promise("A3")
async def test_every_bad_key_gets_the_same_answer(one: Authentication) -> None:
    live, dead = await one.issued("acme"), await one.issued("other")
    await one.keys.revoke(dead.plain.prefix, actor="test", reason="")
    bad = [None, "", "nz_short", live.plain.value + "x", "bearer", UNKNOWN, wrong(live.plain), dead.plain.value]
    faces = {face(await refusal(one.authenticator, presented)) for presented in bad}
    assert len(faces) == 1
    assert next(iter(faces))[0] is UnauthenticatedError
    assert one.hasher.verifications == 0


@pytest.mark.promise("A3")
async def test_an_unknown_prefix_walks_the_same_way_as_a_wrong_secret(one: Authentication) -> None:
    issued = await one.issued()
    seen = []
    for presented in (UNKNOWN, wrong(issued.plain)):
        before = one.lookup.finds, one.hasher.compares, one.hasher.verifications
        await refusal(one.authenticator, presented)
        after = one.lookup.finds, one.hasher.compares, one.hasher.verifications
        seen.append(tuple(now - then for now, then in zip(after, before, strict=True)))
    assert seen == [(1, 1, 0), (1, 1, 0)]


@pytest.mark.promise("A3")
async def test_no_refusal_leaves_before_its_time(stores: Stores) -> None:
    """Building the record of a known prefix takes longer than finding none; the floor covers the difference."""
    async with authentication(stores, Given(refusal_floor_seconds=0.02)) as one:
        issued = await one.issued()
        loop = asyncio.get_running_loop()
        for presented in (UNKNOWN, wrong(issued.plain), UNKNOWN, "malformed", None):
            began = loop.time()
            await refusal(one.authenticator, presented)
            assert loop.time() - began >= 0.018


@pytest.mark.promise("A10")
async def test_no_mutant_of_a_cached_key_is_accepted(one: Authentication) -> None:
    issued = await one.issued()
    good = issued.plain.value
    await one.authenticator.authenticate(good, ADDRESS)
    everywhere = [good[:i] + c + good[i + 1 :] for i in range(len(good)) for c in ALPHABET if c != good[i]]
    assert len(everywhere) > 2000
    mutants = random.Random(2).sample(everywhere, 2000)
    for some in itertools.batched(mutants, 250):  # all at once would hold the loop for longer than Postgres may take
        results = await asyncio.gather(
            *(one.authenticator.authenticate(mutant, ADDRESS) for mutant in some), return_exceptions=True
        )
        assert {type(result) for result in results} == {UnauthenticatedError}
    assert one.hasher.verifications == 1


async def test_a_refused_key_is_remembered_for_two_seconds(one: Authentication) -> None:
    await refusal(one.authenticator, UNKNOWN)
    await refusal(one.authenticator, UNKNOWN)
    assert one.lookup.finds == 1
    one.clock.seconds += 2
    await refusal(one.authenticator, UNKNOWN)
    assert one.lookup.finds == 2


@pytest.mark.promise("A4")
async def test_a_change_shows_when_the_principal_is_read_afresh_without_argon2(
    one: Authentication, stores: Stores
) -> None:
    issued = await one.issued()
    before = await one.authenticator.authenticate(issued.plain.value, ADDRESS)
    await stores.execute("insert into key_limits (api_key_id, tenant_id, rpm) select id, tenant_id, 3 from api_keys")
    assert await one.authenticator.authenticate(issued.plain.value, ADDRESS) is before
    after = await one.authenticator.authenticate(issued.plain.value, ADDRESS, fresh=True)
    assert (after.limits.rpm, after.key_version) == (3, before.key_version + 1)
    assert await one.authenticator.authenticate(issued.plain.value, ADDRESS) is after
    assert one.hasher.verifications == 1


@pytest.mark.promise("A4")
@pytest.mark.parametrize("flushed", [False, True])
async def test_a_revoked_key_is_dead_once_it_is_read_afresh(one: Authentication, stores: Stores, flushed: bool) -> None:
    issued = await one.issued()
    await one.authenticator.authenticate(issued.plain.value, ADDRESS)
    await one.background.flush()
    await stores.execute("update api_keys set revoked_at = now()")
    if flushed:
        await one.cache.forget(one.hasher.cache_name(issued.plain))
    assert isinstance(await refusal(one.authenticator, issued.plain.value, fresh=True), UnauthenticatedError)
    assert isinstance(await refusal(one.authenticator, issued.plain.value), UnauthenticatedError)
    await one.background.flush()
    async with authentication(stores) as other:
        assert isinstance(await refusal(other.authenticator, issued.plain.value), UnauthenticatedError)
        assert other.hasher.verifications == 0


@pytest.mark.promise("A4")
async def test_a_suspended_tenant_is_told_so_until_it_is_resumed(one: Authentication, stores: Stores) -> None:
    issued = await one.issued()
    await one.authenticator.authenticate(issued.plain.value, ADDRESS)
    await one.tenants.suspend("acme", actor="test", reason="")
    assert isinstance(await refusal(one.authenticator, issued.plain.value, fresh=True), TenantSuspendedError)
    assert isinstance(await refusal(one.authenticator, issued.plain.value), TenantSuspendedError)
    assert isinstance(await refusal(one.authenticator, wrong(issued.plain)), UnauthenticatedError)
    await one.background.flush()
    async with authentication(stores) as other:
        assert isinstance(await refusal(other.authenticator, issued.plain.value), TenantSuspendedError)
    await one.tenants.resume("acme", actor="test", reason="")
    await one.authenticator.authenticate(issued.plain.value, ADDRESS)
    assert one.hasher.verifications == 1


@pytest.mark.promise("A7")
async def test_what_is_cached_shows_neither_the_key_nor_its_digest(one: Authentication) -> None:
    issued = await one.issued()
    await one.authenticator.authenticate(issued.plain.value, ADDRESS)
    await one.background.flush()
    name = one.hasher.cache_name(issued.plain)
    payload = await one.cache.find(name)
    assert payload is not None
    assert name != one.hasher.digest(issued.plain)
    for secret in (issued.plain.value.encode(), issued.plain.value[12:].encode(), one.hasher.digest(issued.plain)):
        assert secret not in payload
