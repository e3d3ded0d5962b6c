"""Argon2id behind the digest: when it runs, when it may be done without, what it leaves behind."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from uuid import UUID

import pytest

from neuronetz_gateway.domain.api_key import PlainKey
from neuronetz_gateway.domain.principal import Principal
from neuronetz_gateway.errors import OverloadedError, UnauthenticatedError
from tests.support.authenticating import ADDRESS, PEPPER, Authentication, Given, authentication
from tests.support.stores import Stores

NEW_PEPPER = b"another pepper of the tests, 32+ bytes"


@pytest.fixture
async def one(stores: Stores) -> AsyncIterator[Authentication]:
    async with authentication(stores) as one:
        yield one


@contextmanager
def full_lane(one: Authentication) -> Iterator[None]:
    """The lane's only thread held up, all its places taken."""
    gate = threading.Event()
    held = one.lane._pool.submit(gate.wait)
    stored = one.hasher.hash(PlainKey("nz_" + "0" * 41))
    waiting = []
    while not one.lane.is_full():
        waiting.append(one.lane._enter(one.hasher.needs_rehash, stored))
    try:
        yield
    finally:
        gate.set()
        assert held.result(10)


async def let_in(one: Authentication, key: PlainKey) -> Principal:
    return await one.authenticator.authenticate(key.value, ADDRESS)


async def test_a_thousand_first_requests_of_a_key_cost_one_argon2(one: Authentication) -> None:
    issued = await one.issued()
    principals = await asyncio.gather(*(let_in(one, issued.plain) for _ in range(1000)))
    assert len(set(principals)) == 1
    assert (one.hasher.verifications, one.lookup.finds) == (1, 1)


async def test_callers_who_leave_take_nothing_from_those_who_stay(one: Authentication) -> None:
    issued = await one.issued()
    with full_lane(one):
        pass
    callers = [asyncio.create_task(let_in(one, issued.plain)) for _ in range(20)]
    await asyncio.sleep(0)
    for leaving in callers[::2]:
        leaving.cancel()
    results = await asyncio.gather(*callers, return_exceptions=True)
    assert [type(result) for result in results] == [asyncio.CancelledError, Principal] * 10
    assert one.hasher.verifications == 1


async def test_what_a_caller_began_is_ready_for_the_next_though_it_left(one: Authentication) -> None:
    issued = await one.issued()
    leaving = asyncio.create_task(let_in(one, issued.plain))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    await one.authenticator.aclose()
    await let_in(one, issued.plain)
    assert (one.hasher.verifications, one.lookup.finds) == (1, 1)


async def test_a_good_proof_is_written_down_without_making_the_principal_stale(
    one: Authentication, stores: Stores
) -> None:
    issued = await one.issued()
    principal = await let_in(one, issued.plain)
    await one.background.flush()
    (row,) = await stores.fetch("select proven_at, version from api_keys")
    assert row["proven_at"] is not None
    assert row["version"] == principal.key_version


async def test_a_proof_that_cannot_be_written_down_is_counted_and_stops_nobody(
    one: Authentication, stores: Stores
) -> None:
    issued = await one.issued()
    await stores.execute("alter table api_keys add check (proven_at is null)")
    await let_in(one, issued.plain)
    await one.background.flush()
    assert one.events["proof_recording_failed"] == 1
    await stores.execute("alter table api_keys drop constraint api_keys_proven_at_check")
    await one.authenticator.authenticate(issued.plain.value, ADDRESS, fresh=True)
    await one.background.flush()
    (row,) = await stores.fetch("select proven_at from api_keys")
    assert row["proven_at"] is not None
    assert one.hasher.verifications == 1


async def test_a_full_lane_takes_a_key_that_was_proven_before_at_its_digest(
    one: Authentication, stores: Stores
) -> None:
    issued = await one.issued()
    await let_in(one, issued.plain)
    await one.background.flush()
    await one.cache.forget(one.hasher.cache_name(issued.plain))
    async with authentication(stores) as other:
        with full_lane(other):
            principal = await let_in(other, issued.plain)
            with pytest.raises(UnauthenticatedError):
                await let_in(other, PlainKey(issued.plain.prefix + "0" * 32))
        assert principal.api_key_id == issued.api_key.id
        assert other.hasher.verifications == 0
        await other.lane.aclose()
        assert await other.cache.find(other.hasher.cache_name(issued.plain)) is None


async def test_a_key_believed_for_once_is_proven_at_its_next_use(one: Authentication, stores: Stores) -> None:
    issued = await one.issued()
    await let_in(one, issued.plain)
    await one.background.flush()
    await one.cache.forget(one.hasher.cache_name(issued.plain))
    async with authentication(stores) as other:
        with full_lane(other):
            await let_in(other, issued.plain)
        while other.lane.is_full():
            await asyncio.wait(other.lane._running, return_when=asyncio.FIRST_COMPLETED)
        await let_in(other, issued.plain)
        assert other.hasher.verifications == 1


async def test_a_full_lane_turns_an_unproven_key_away_for_a_moment_never_with_401(one: Authentication) -> None:
    issued = await one.issued()
    with full_lane(one):
        with pytest.raises(OverloadedError) as caught:
            await let_in(one, issued.plain)
        assert caught.value.status == 503
        assert 1 <= (caught.value.retry_after_seconds or 0) < 2
    while one.lane.is_full():
        await asyncio.wait(one.lane._running, return_when=asyncio.FIRST_COMPLETED)
    await let_in(one, issued.plain)


async def test_argon2_has_the_last_word_over_a_matching_digest(one: Authentication, stores: Stores) -> None:
    """Whoever can write digests but not hashes, or damages a hash, must not get in by the digest alone."""
    issued = await one.issued()
    other_hash = one.hasher.hash(PlainKey("nz_" + "0" * 41))
    for stored in (other_hash, "damaged"):
        await stores.execute("update api_keys set secret_hash = $1", stored)
        one.clock.seconds += 3
        with pytest.raises(UnauthenticatedError):
            await let_in(one, issued.plain)
    assert one.events["argon2_disagrees_with_digest"] == 2
    (row,) = await stores.fetch("select proven_at from api_keys")
    assert row["proven_at"] is None


async def test_a_new_hash_in_the_table_ends_the_proof_of_the_old_one(one: Authentication, stores: Stores) -> None:
    issued = await one.issued()
    await let_in(one, issued.plain)
    await one.background.flush()
    await stores.execute("update api_keys set secret_hash = $1", one.hasher.hash(issued.plain))
    await one.authenticator.authenticate(issued.plain.value, ADDRESS, fresh=True)
    assert one.hasher.verifications == 2


async def test_a_hash_of_older_parameters_is_renewed_on_good_use_without_a_second_proof(stores: Stores) -> None:
    async with authentication(stores, Given(memory_kib=8)) as before:
        issued = await before.issued()
    async with authentication(stores, Given(memory_kib=16)) as after:
        await let_in(after, issued.plain)
        await after.background.flush()
        (row,) = await stores.fetch("select secret_hash from api_keys")
        assert "m=16,t=1" in row["secret_hash"]
        await after.authenticator.authenticate(issued.plain.value, ADDRESS, fresh=True)
        await after.background.flush()
        assert after.hasher.verifications == 1
    async with authentication(stores, Given(memory_kib=16)) as third:
        await let_in(third, issued.plain)
        await third.authenticator.authenticate(issued.plain.value, ADDRESS, fresh=True)
        assert third.hasher.verifications == 0


async def test_a_late_renewal_does_not_bring_back_a_secret_that_was_replaced_meanwhile(stores: Stores) -> None:
    """The renewed hash was written without a look at what stood there: over another writer's new secret."""
    async with authentication(stores, Given(memory_kib=8)) as before:
        issued = await before.issued()
    async with authentication(stores, Given(memory_kib=16)) as after:
        async with stores.transaction() as other:
            await other.execute("update api_keys set secret_hash = 'new', digest = 'new'")
            await let_in(after, issued.plain)
            while not await stores.fetch("select 1 from pg_stat_activity where wait_event_type = 'Lock'"):
                await asyncio.sleep(0.01)
        await after.background.flush()
        (row,) = await stores.fetch("select secret_hash, digest, proven_at from api_keys")
        assert row == {"secret_hash": "new", "digest": b"new", "proven_at": None}
        with pytest.raises(UnauthenticatedError):
            await after.authenticator.authenticate(issued.plain.value, ADDRESS, fresh=True)


async def test_the_pepper_rotates_key_by_key(stores: Stores) -> None:
    async with authentication(stores, Given(pepper=PEPPER)) as before:
        used, unused = await before.issued("used"), await before.issued("unused")
    async with authentication(stores, Given(pepper=NEW_PEPPER, previous_pepper=PEPPER)) as during:
        await let_in(during, used.plain)
        await during.background.flush()
        new_id = during.hasher.pepper_id
        assert await _pepper_ids(stores) == {used.api_key.id: new_id, unused.api_key.id: before.hasher.pepper_id}
    async with authentication(stores, Given(pepper=NEW_PEPPER)) as after:
        await let_in(after, used.plain)
        with pytest.raises(UnauthenticatedError):
            await let_in(after, unused.plain)


async def test_a_proof_under_the_previous_pepper_does_not_open_a_full_lane(stores: Stores) -> None:
    async with authentication(stores, Given(pepper=PEPPER)) as before:
        issued = await before.issued()
        await let_in(before, issued.plain)
    async with authentication(stores, Given(pepper=NEW_PEPPER, previous_pepper=PEPPER)) as during:
        with full_lane(during), pytest.raises(OverloadedError):
            await let_in(during, issued.plain)


async def _pepper_ids(stores: Stores) -> dict[UUID, str]:
    return {row["id"]: row["pepper_id"] for row in await stores.fetch("select id, pepper_id from api_keys")}
