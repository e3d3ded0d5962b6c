"""Tokens a minute as they are really used, in every trailing window."""

import asyncio
import random

import pytest

from neuronetz_gateway.counters.admissions import Closing, Refused
from neuronetz_gateway.counters.connection import BatchedRedis
from neuronetz_gateway.domain.admission import Admission
from neuronetz_gateway.domain.identifier import uuid7
from neuronetz_gateway.domain.limit import Limits
from tests.support.counters import WarmingCounters, a_principal

TPM = 600
WINDOW_SECONDS = 1


def most_in_a_window(settled: list[tuple[Admission, int]]) -> int:
    """The most settled tokens that any trailing window holds, by a count of our own: each may end with a request."""
    most = 0
    for last, _ in settled:
        ages = (((last.admitted_at - one.admitted_at).total_seconds(), actual) for one, actual in settled)
        most = max(most, sum(actual for age, actual in ages if 0 <= age < WINDOW_SECONDS))
    return most


async def crowd(counters: WarmingCounters, seed: int, *factors: float) -> list[tuple[Admission, int]]:
    """A dozen hostile callers, whose requests take between two factors of what was estimated."""
    principal, dice = a_principal(tenant=Limits(tpm=TPM)), random.Random(seed)
    settled: list[tuple[Admission, int]] = []
    ends_at = asyncio.get_running_loop().time() + 3

    async def caller() -> None:
        while asyncio.get_running_loop().time() < ends_at:
            verdict = await counters.admit(principal, uuid7(), dice.randint(1, 150))
            if isinstance(verdict, Refused):
                await asyncio.sleep(dice.choice((verdict.retry_after_seconds, 0.01, 0.05)))
                continue
            assert isinstance(verdict, Admission)
            await asyncio.sleep(dice.choice((0, 0.005, 0.05, 0.4)))
            actual = round(verdict.estimated_tokens * dice.uniform(*factors))
            await counters.close(Closing.of(verdict, actual))
            settled.append((verdict, actual))

    await asyncio.gather(*(caller() for _ in range(12)))
    return settled


@pytest.mark.promise("L3")
async def test_settled_tokens_never_pass_the_limit_in_any_trailing_window(connection: BatchedRedis) -> None:
    settled = await crowd(WarmingCounters(connection, window_seconds=WINDOW_SECONDS), 1, 0.0, 1.0)
    assert most_in_a_window(settled) <= TPM
    assert sum(actual for _, actual in settled) > TPM, "the limit was never reached"


@pytest.mark.promise("L3")
async def test_beyond_the_limit_goes_only_what_was_in_flight_at_its_estimate(connection: BatchedRedis) -> None:
    """An estimate may be too low: then what is over it passes, but from its settlement on it counts in full."""
    settled = await crowd(WarmingCounters(connection, window_seconds=WINDOW_SECONDS), 2, 1.0, 2.0)
    # At every admission the window held at most TPM, with what was in flight at its estimate; what that took besides is
    # at most its estimate once more (the factor), and no more than TPM can have been in flight.
    assert TPM < most_in_a_window(settled) <= 2 * TPM


@pytest.mark.promise("L3")
@pytest.mark.parametrize("scope", ["tenant", "key"])
async def test_after_settlement_the_rest_is_exact(connection: BatchedRedis, scope: str) -> None:
    counters, dice = WarmingCounters(connection), random.Random(3)
    limits = Limits(tpm=100_000)
    principal = a_principal(tenant=limits) if scope == "tenant" else a_principal(key=limits)
    used = 0
    for _ in range(40):
        batch = [await counters.admit(principal, uuid7(), dice.randint(0, 300)) for _ in range(5)]
        for admission in dice.sample(batch, len(batch)):
            assert isinstance(admission, Admission)
            actual = dice.choice((None, 0, 7, 200, 900))
            await counters.close(Closing.of(admission, actual))
            used += actual or 0
        seen = await counters.look(principal.tenant_id, principal.api_key_id)
        assert seen.tenant.tokens == seen.key.tokens == used
        told = await counters.admit(principal, uuid7(), 0)
        assert isinstance(told, Admission)
        assert told.standing is not None
        assert told.standing.tokens is not None
        assert told.standing.tokens.left == 100_000 - used
