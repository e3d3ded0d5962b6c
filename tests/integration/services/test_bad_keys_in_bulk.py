"""Floods of bad keys, outages: good callers are served, nothing is let in by mistake."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from neuronetz_gateway.errors import RateLimitedError, UnauthenticatedError, UnavailableError
from tests.support.authenticating import ADDRESS, Authentication, Given, authentication
from tests.support.stores import Stores

ELSEWHERE = "198.51.100.7"


@pytest.fixture
async def strict(stores: Stores) -> AsyncIterator[Authentication]:
    async with authentication(stores, Given(failures_per_minute=5)) as strict:
        yield strict


async def outcome(one: Authentication, presented: str | None, address: str) -> type[object]:
    try:
        return type(await one.authenticator.authenticate(presented, address))
    except (UnauthenticatedError, RateLimitedError) as error:
        return type(error)


def bad(number: int, prefix: str = "nz_000000000") -> str:
    return f"{prefix}{number:032d}"


async def test_an_address_that_fails_too_often_is_told_to_wait_after_its_digest_was_compared(
    strict: Authentication,
) -> None:
    answers = [await outcome(strict, bad(number), ADDRESS) for number in range(8)]
    assert answers == [UnauthenticatedError] * 5 + [RateLimitedError] * 3
    assert strict.hasher.compares == 8
    assert await outcome(strict, bad(9), ELSEWHERE) is UnauthenticatedError
    with pytest.raises(RateLimitedError) as caught:
        await strict.authenticator.authenticate(bad(10), ADDRESS)
    assert (caught.value.limit, caught.value.status) == ("address.failures", 429)
    assert 0 < (caught.value.retry_after_seconds or 0) <= 60
    strict.clock.seconds += 60
    assert await outcome(strict, bad(11), ADDRESS) is UnauthenticatedError


async def test_a_missing_or_malformed_key_counts_as_a_failure(strict: Authentication) -> None:
    answers = [await outcome(strict, presented, ADDRESS) for presented in (None, "", "x", "nz_", "y", None, "z")]
    assert answers == [UnauthenticatedError] * 5 + [RateLimitedError] * 2


@pytest.mark.promise("A8", "A9")
async def test_a_good_key_behind_a_blocked_address_goes_on_working_caches_or_none(strict: Authentication) -> None:
    issued = await strict.issued()
    flood = asyncio.gather(*(outcome(strict, bad(number, issued.plain.prefix), ADDRESS) for number in range(500)))
    owner = asyncio.create_task(strict.authenticator.authenticate(issued.plain.value, ADDRESS))
    assert set(await flood) == {UnauthenticatedError, RateLimitedError}
    assert (await owner).api_key_id == issued.api_key.id
    assert await outcome(strict, bad(500), ADDRESS) is RateLimitedError
    await strict.authenticator.authenticate(issued.plain.value, ADDRESS, fresh=True)
    strict.clock.seconds += 61
    await outcome(strict, issued.plain.value, ADDRESS)
    assert strict.hasher.verifications == 1


@pytest.mark.promise("A9")
async def test_a_prefix_that_many_wrong_secrets_share_is_read_once_for_all_who_wait(strict: Authentication) -> None:
    issued = await strict.issued()
    await asyncio.gather(*(outcome(strict, bad(number, issued.plain.prefix), ADDRESS) for number in range(500)))
    assert strict.lookup.finds == 500
    assert strict.lookup.reads <= 3


async def test_a_blocked_address_waits_for_the_common_beat_others_do_not(stores: Stores) -> None:
    """A thousand prefixes that nobody has, each in a transaction of its own, would be a core of work a second."""
    async with authentication(stores, Given(failures_per_minute=1, beat_seconds=1)) as one:
        await outcome(one, bad(0), ADDRESS)
        flood = [asyncio.create_task(outcome(one, bad(1, f"nz_{number:09d}"), ADDRESS)) for number in range(1, 40)]
        await asyncio.sleep(0)
        assert await outcome(one, bad(2), ELSEWHERE) is UnauthenticatedError
        assert (one.lookup.batches, one.lookup.reads) == (2, 2)
        assert set(await asyncio.gather(*flood)) == {RateLimitedError}
        assert one.lookup.reads == 41
        assert one.lookup.batches <= 4


async def test_nothing_is_decided_while_postgres_is_away(stores: Stores) -> None:
    away = replace(stores, database_url="postgresql+asyncpg://gateway@/gateway?host=/nowhere")
    async with authentication(away) as one:
        for fresh in (False, True):
            with pytest.raises(UnavailableError):
                await one.authenticator.authenticate(bad(1), ADDRESS, fresh=fresh)
        assert one.hasher.verifications == 0
