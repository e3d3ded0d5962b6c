"""What processes believe of each other through Redis."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import redis.asyncio

from neuronetz_gateway.domain.api_key import PlainKey
from neuronetz_gateway.errors import UnauthenticatedError
from neuronetz_gateway.services.identity import Identity, decoded, encoded
from tests.support.authenticating import ADDRESS, Authentication, authentication
from tests.support.stores import Stores


class Raw:
    """Redis as someone has it who can write it but does not know the pepper."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client

    async def get(self, name: str) -> bytes:
        found = await self._client.get(name)
        assert isinstance(found, bytes)
        return found

    async def set(self, name: str, value: bytes) -> None:
        await self._client.set(name, value)

    async def delete(self, name: str) -> None:
        await self._client.delete(name)


@pytest.fixture
async def one(stores: Stores) -> AsyncIterator[Authentication]:
    async with authentication(stores) as one:
        yield one


@pytest.fixture
async def raw(stores: Stores) -> AsyncIterator[Raw]:
    async with redis.asyncio.Redis.from_url(stores.redis_url) as client:
        yield Raw(client)


def place(one: Authentication, key: str) -> str:
    return f"nz:key:{one.hasher.cache_name(_plain(key)).hex()}"


def _plain(key: str) -> PlainKey:
    parsed = PlainKey.parse(key)
    assert parsed is not None
    return parsed


async def test_what_one_process_has_verified_another_finds_in_redis(one: Authentication, stores: Stores) -> None:
    issued = await one.issued()
    first = await one.authenticator.authenticate(issued.plain.value, ADDRESS)
    await one.background.flush()
    async with authentication(stores) as other:
        assert await other.authenticator.authenticate(issued.plain.value, ADDRESS) == first
        assert (other.lookup.finds, other.hasher.verifications) == (0, 0)
        await other.authenticator.authenticate(issued.plain.value, ADDRESS, fresh=True)
        assert (other.lookup.finds, other.hasher.verifications) == (1, 0)


async def test_a_principal_read_afresh_by_a_process_that_never_proved_it_takes_the_proof_from_redis(
    one: Authentication, stores: Stores
) -> None:
    issued = await one.issued()
    await one.authenticator.authenticate(issued.plain.value, ADDRESS)
    await one.background.flush()
    async with authentication(stores) as other:
        await other.authenticator.authenticate(issued.plain.value, ADDRESS, fresh=True)
        assert (other.lookup.finds, other.hasher.verifications) == (1, 0)


@pytest.mark.promise("A11")
async def test_a_forged_or_edited_entry_is_worth_nothing(one: Authentication, stores: Stores, raw: Raw) -> None:
    victim, attacker = await one.issued("victim"), await one.issued("attacker")
    truth = await one.authenticator.authenticate(victim.plain.value, ADDRESS)
    own = await one.authenticator.authenticate(attacker.plain.value, ADDRESS)
    await one.background.flush()
    sealed = await raw.get(place(one, victim.plain.value))
    mine = await raw.get(place(one, attacker.plain.value))
    forgeries = [
        sealed,  # the victim's entry under the attacker's name
        mine[:-1] + bytes([mine[-1] ^ 1]),
        bytes([mine[0] ^ 1]) + mine[1:],
        mine[:32] + sealed[32:],
        mine[32:],
        b"\x00" * 32 + mine[32:],
        b"",
    ]
    for number, forged in enumerate(forgeries, 1):
        await raw.set(place(one, attacker.plain.value), forged)
        async with authentication(stores) as other:
            assert await other.authenticator.authenticate(attacker.plain.value, ADDRESS) == own, number
            assert (other.events["forged_cache_entry"], other.lookup.finds) == (1, 1), number
    assert truth != own


@pytest.mark.promise("A11")
async def test_a_forged_entry_does_not_let_an_unknown_key_in(one: Authentication, stores: Stores, raw: Raw) -> None:
    victim = await one.issued()
    await one.authenticator.authenticate(victim.plain.value, ADDRESS)
    await one.background.flush()
    sealed = await raw.get(place(one, victim.plain.value))
    invented = victim.plain.prefix + "0" * 32
    await raw.set(place(one, invented), sealed)
    async with authentication(stores) as other:
        with pytest.raises(UnauthenticatedError):
            await other.authenticator.authenticate(invented, ADDRESS)


@pytest.mark.promise("A11")
async def test_an_entry_that_is_sealed_but_odd_counts_as_none(one: Authentication, stores: Stores) -> None:
    """A process of another release, or another pepper's proof: read again, never guessed at."""
    issued = await one.issued()
    truth = await one.authenticator.authenticate(issued.plain.value, ADDRESS)
    await one.background.flush()
    name = one.hasher.cache_name(issued.plain)
    identity = decoded(await one.cache.find(name) or b"")
    assert identity is not None
    odd = [
        b"nonsense",
        encoded(replace(identity, proof=replace(identity.proof, pepper_id="another"))),
        encoded(Identity(replace(truth, key_prefix="nz_another00"), identity.proof)),
    ]
    for payload in odd:
        await one.cache.store(name, payload)
        async with authentication(stores) as other:
            assert await other.authenticator.authenticate(issued.plain.value, ADDRESS) == truth
            assert (other.events["odd_cache_entry"], other.hasher.verifications) == (1, 1)
            await other.background.flush()


async def test_a_flushed_redis_costs_one_verification_a_process(one: Authentication, raw: Raw) -> None:
    issued = await one.issued()
    await one.authenticator.authenticate(issued.plain.value, ADDRESS)
    await one.background.flush()
    await raw.delete(place(one, issued.plain.value))
    await one.authenticator.authenticate(issued.plain.value, ADDRESS)
    one.clock.seconds += 61
    await one.authenticator.authenticate(issued.plain.value, ADDRESS)
    assert (one.hasher.verifications, one.lookup.finds) == (1, 2)  # the proof of this process still holds
    await one.background.flush()
    assert await raw.get(place(one, issued.plain.value))


async def test_without_redis_postgres_decides(stores: Stores) -> None:
    async with authentication(replace(stores, redis_url="unix:///nowhere/valkey.sock")) as one:
        issued = await one.issued()
        await one.authenticator.authenticate(issued.plain.value, ADDRESS)
        with pytest.raises(UnauthenticatedError):
            await one.authenticator.authenticate(issued.plain.prefix + "0" * 32, ADDRESS)
        await one.background.flush()
        assert one.events["key_cache_unavailable"] == 2
        assert one.events["key_cache_write_failed"] == 1
