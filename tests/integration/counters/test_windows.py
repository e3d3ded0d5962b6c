"""Requests and tokens in every trailing window."""

import asyncio
import random
from itertools import accumulate

import pytest

from neuronetz_gateway.counters.admissions import Closing, Refused
from neuronetz_gateway.counters.connection import BatchedRedis
from neuronetz_gateway.domain.admission import Admission
from neuronetz_gateway.domain.identifier import uuid7
from neuronetz_gateway.domain.limit import Limits
from neuronetz_gateway.domain.principal import Principal
from tests.support.counters import Server, WarmingCounters, a_principal, batched, requests_left, tokens_left


async def admitted(counters: WarmingCounters, principal: Principal, tokens: int = 0) -> Admission:
    verdict = await counters.admit(principal, uuid7(), tokens)
    assert isinstance(verdict, Admission)
    return verdict


async def refused(counters: WarmingCounters, principal: Principal, tokens: int = 0) -> Refused:
    verdict = await counters.admit(principal, uuid7(), tokens)
    assert isinstance(verdict, Refused)
    return verdict


def most_in_a_window(admissions: list[Admission], seconds: float) -> tuple[int, int]:
    """The most requests and the most tokens that any trailing window holds, by a count of our own."""
    admissions = sorted(admissions, key=lambda admission: admission.admitted_at)
    requests, tokens, first = 0, 0, 0
    sums = [0, *accumulate(admission.estimated_tokens for admission in admissions)]
    for last, admission in enumerate(admissions):
        while (admission.admitted_at - admissions[first].admitted_at).total_seconds() >= seconds:
            first += 1
        requests = max(requests, last - first + 1)
        tokens = max(tokens, sums[last + 1] - sums[first])
    return requests, tokens


@pytest.mark.promise("L1")
@pytest.mark.parametrize("scope", ["tenant", "key"])
async def test_of_two_thousand_concurrent_requests_at_sixty_a_minute_exactly_sixty_pass(
    server: Server, scope: str
) -> None:
    limits = Limits(rpm=60)
    principal = a_principal(tenant=limits) if scope == "tenant" else a_principal(key=limits)
    async with batched(server.url, timeout_seconds=10) as one, batched(server.url, timeout_seconds=10) as other:
        processes = (WarmingCounters(one), WarmingCounters(other))
        verdicts = await asyncio.gather(*(processes[index % 2].admit(principal, uuid7(), 10) for index in range(2_000)))
    passed = [verdict for verdict in verdicts if isinstance(verdict, Admission)]
    assert len(passed) == 60
    assert sorted(map(requests_left, passed)) == list(range(60))
    assert {verdict.limit for verdict in verdicts if isinstance(verdict, Refused)} == {f"{scope}.rpm"}


@pytest.mark.promise("L1", "L3")
async def test_no_trailing_window_ever_holds_more_than_the_limit(connection: BatchedRedis) -> None:
    counters = WarmingCounters(connection, window_seconds=1)
    principal = a_principal(key=Limits(rpm=7), tenant=Limits(tpm=500))
    dice = random.Random(20)
    passed: list[Admission] = []
    ends_at = asyncio.get_running_loop().time() + 3

    async def hostile_caller() -> None:
        while asyncio.get_running_loop().time() < ends_at:
            verdict = await counters.admit(principal, uuid7(), dice.randint(1, 120))
            if isinstance(verdict, Admission):
                passed.append(verdict)
                await asyncio.sleep(dice.choice((0, 0.001, 0.9)))
            elif isinstance(verdict, Refused):
                # Just before, exactly at, and just after the moment that was named; sometimes at random.
                wait = verdict.retry_after_seconds
                await asyncio.sleep(dice.choice((wait - 0.002, wait, wait + 0.001, dice.random() / 10)))

    await asyncio.gather(*(hostile_caller() for _ in range(8)))
    requests, tokens = most_in_a_window(passed, 1)
    assert requests <= 7
    assert tokens <= 500
    assert len(passed) > 7, "nobody came back after the first window"


@pytest.mark.promise("L6")
@pytest.mark.parametrize(
    ("limits", "tokens", "axis"), [(Limits(rpm=3), 0, "rpm"), (Limits(tpm=300), 100, "tpm")], ids=["rpm", "tpm"]
)
async def test_the_moment_named_by_a_refusal_is_honest(
    connection: BatchedRedis, limits: Limits, tokens: int, axis: str
) -> None:
    counters = WarmingCounters(connection, window_seconds=1)
    principal = a_principal(key=limits)
    first = await admitted(counters, principal, tokens)
    await admitted(counters, principal, tokens)
    await admitted(counters, principal, tokens)
    refusal = await refused(counters, principal, tokens)
    assert refusal.limit == f"key.{axis}"
    assert 0 < refusal.retry_after_seconds <= 2
    await asyncio.sleep(refusal.retry_after_seconds)
    again = await admitted(counters, principal, tokens)
    waited = (again.admitted_at - first.admitted_at).total_seconds()
    assert waited > 1, "the window was not over"
    assert waited < 1 + 1 + 0.5, "the caller was told to wait more than a second too long"


async def test_a_large_request_is_told_to_wait_until_enough_tokens_have_left(connection: BatchedRedis) -> None:
    counters = WarmingCounters(connection, window_seconds=2)
    principal = a_principal(tenant=Limits(tpm=100))
    await admitted(counters, principal, 40)
    await asyncio.sleep(1)
    await admitted(counters, principal, 60)
    small, large = await refused(counters, principal, 40), await refused(counters, principal, 41)
    assert (small.limit, small.figure, small.left) == ("tenant.tpm", 100, 0)
    assert large.retry_after_seconds - small.retry_after_seconds == pytest.approx(1, abs=0.1)


async def test_of_several_limits_the_one_that_takes_longest_is_named(counters: WarmingCounters) -> None:
    principal = a_principal(tenant=Limits(concurrent=1), key=Limits(rpm=1))
    await admitted(counters, principal)
    assert (await refused(counters, principal)).limit == "key.rpm"


@pytest.mark.promise("L2")
@pytest.mark.parametrize(
    "limits", [Limits(rpm=2), Limits(tpm=200), Limits(concurrent=2)], ids=["rpm", "tpm", "concurrent"]
)
@pytest.mark.parametrize("scope", ["tenant", "key"])
async def test_a_refusal_writes_nothing(server: Server, counters: WarmingCounters, scope: str, limits: Limits) -> None:
    principal = a_principal(tenant=limits) if scope == "tenant" else a_principal(key=limits)
    for _ in range(2):
        await admitted(counters, principal, 100)
    before = server.contents()
    assert (await refused(counters, principal, 100)).limit.startswith(scope)
    assert server.contents() == before


@pytest.mark.promise("L2")
@pytest.mark.parametrize("is_answered", [True, False], ids=["known", "answer-lost"])
async def test_an_undone_admission_leaves_every_axis_as_it_was(
    server: Server, counters: WarmingCounters, is_answered: bool
) -> None:
    limits = Limits(rpm=10, tpm=1_000, concurrent=10)
    principal = a_principal(tenant=limits, key=limits)
    first = await admitted(counters, principal, 100)
    # In a second of its own, so that the undone bucket has to go altogether.
    await asyncio.sleep(1 - first.admitted_at.microsecond / 1e6 + 0.01)
    before = server.contents()
    undone = await admitted(counters, principal, 300)
    assert server.contents() != before
    admitted_at = undone.admitted_at if is_answered else None
    closing = Closing(undone.id, undone.tenant_id, undone.api_key_id, admitted_at, 300, None)
    assert await counters.close(closing) == 1
    assert server.contents() == before


async def test_an_admission_that_arrives_after_its_undoing_is_not_admitted(
    server: Server, counters: WarmingCounters
) -> None:
    principal, late = a_principal(key=Limits(rpm=1)), uuid7()
    assert await counters.close(Closing(late, principal.tenant_id, principal.api_key_id, None, 10, None)) == 0
    with pytest.raises(Exception, match="did not answer in time"):
        await counters.admit(principal, late, 10)
    assert server.contents() == {}
    await admitted(counters, principal)


@pytest.mark.promise("L3")
@pytest.mark.parametrize("actual", [0, 40, 100, 250])
async def test_settled_tokens_replace_the_estimate(counters: WarmingCounters, actual: int) -> None:
    principal = a_principal(tenant=Limits(tpm=1_000))
    admission = await admitted(counters, principal, 100)
    assert tokens_left(admission) == 900
    await counters.close(Closing.of(admission, actual))
    assert tokens_left(await admitted(counters, principal)) == 1_000 - actual


async def test_tokens_are_corrected_in_the_second_of_the_admission(server: Server, connection: BatchedRedis) -> None:
    counters = WarmingCounters(connection, window_seconds=5)
    principal = a_principal()
    admission = await admitted(counters, principal, 100)
    await asyncio.sleep(1.05)
    await counters.close(Closing.of(admission, 30))
    second = int(admission.admitted_at.timestamp())
    rates = server.ask("HGETALL", f"nz:{{{principal.tenant_id.hex}}}:rates")
    assert rates[f"t{second}".encode()] == b"30"
    assert rates[b"tokens"] == b"30"
    assert rates[b"requests"] == b"1"


async def test_closing_twice_corrects_once(counters: WarmingCounters) -> None:
    principal = a_principal(key=Limits(tpm=1_000))
    admission = await admitted(counters, principal, 100)
    assert [await counters.close(Closing.of(admission, 40)) for _ in range(3)] == [1, 0, 0]
    assert tokens_left(await admitted(counters, principal)) == 960


async def test_what_settles_after_its_window_changes_nothing(server: Server, connection: BatchedRedis) -> None:
    counters = WarmingCounters(connection, window_seconds=1)
    principal = a_principal()
    late = await admitted(counters, principal, 100)
    await asyncio.sleep(2.1)
    await admitted(counters, principal, 7)
    before = {name: value for name, value in server.contents().items() if "rates" in name}
    assert await counters.close(Closing.of(late, 500)) == 1
    assert {name: value for name, value in server.contents().items() if "rates" in name} == before


async def test_the_same_admission_asked_for_again_counts_once(server: Server, counters: WarmingCounters) -> None:
    principal, admission_id = a_principal(key=Limits(rpm=1, concurrent=1, tpm=10)), uuid7()
    first = await counters.admit(principal, admission_id, 10)
    before = server.contents()
    assert isinstance(first, Admission)
    assert await counters.admit(principal, admission_id, 10) == first
    assert server.contents() == before


async def test_the_totals_always_equal_the_buckets(server: Server, connection: BatchedRedis) -> None:
    counters = WarmingCounters(connection, window_seconds=1)
    principal, dice = a_principal(), random.Random(7)
    for _ in range(6):
        batch = [await admitted(counters, principal, dice.randint(0, 50)) for _ in range(10)]
        for admission in batch[::2]:
            await counters.close(Closing.of(admission, dice.choice((None, 0, 10, 99))))
        for rates in server.contents().values():
            if isinstance(rates, dict):
                for total, mark in ((b"requests", b"r1"), (b"tokens", b"t1")):
                    assert int(rates[total]) == sum(int(n) for field, n in rates.items() if field.startswith(mark))
        await asyncio.sleep(0.45)


async def test_whatever_is_written_vanishes_by_itself(server: Server, connection: BatchedRedis) -> None:
    counters = WarmingCounters(connection, window_seconds=1)
    principal = a_principal()
    for _ in range(3):
        await counters.close(Closing.of(await admitted(counters, principal, 5), None))
        await admitted(counters, principal, 5)
        await asyncio.sleep(0.8)
    names = server.ask("KEYS", "*")
    assert len(names) == 5
    assert all(server.ask("TTL", name) > 0 for name in names)


@pytest.mark.promise("L9")
async def test_a_tenant_far_over_its_limit_does_not_touch_another(counters: WarmingCounters) -> None:
    greedy, quiet = a_principal(tenant=Limits(rpm=5)), a_principal(tenant=Limits(rpm=5))
    verdicts = await asyncio.gather(*(counters.admit(greedy, uuid7(), 0) for _ in range(100)))
    assert sum(isinstance(verdict, Admission) for verdict in verdicts) == 5
    for _ in range(5):
        await admitted(counters, quiet)
