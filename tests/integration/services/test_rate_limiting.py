"""The limiter: what callers are told, what a caller who leaves leaves behind."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta

import pytest
import pytest_asyncio

from neuronetz_gateway.counters.errors import CountersUnavailableError
from neuronetz_gateway.domain.identifier import uuid7
from neuronetz_gateway.domain.limit import Limits
from neuronetz_gateway.domain.principal import Principal
from neuronetz_gateway.errors import (
    AnswerCutError,
    GatewayError,
    InvalidRequestError,
    RateLimitedError,
    UnauthenticatedError,
)
from neuronetz_gateway.services.rate_limiting import LimitReachedError, RateLimiter
from tests.support.counters import Server, WarmingCounters, a_principal, batched, no_ledger

type Limiting = Callable[..., AbstractAsyncContextManager[RateLimiter]]


@pytest.fixture(scope="module")
def _started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("r"))
    yield server
    server.stop()


@pytest.fixture
def server(_started: Server) -> Server:
    _started.clear()
    return _started


@pytest.fixture
def limiting(server: Server) -> Limiting:
    @asynccontextmanager
    async def limiting(
        *, timeout_seconds: float = 2.0, lease_seconds: float = 30.0, heartbeat_seconds: float = 5.0
    ) -> AsyncIterator[RateLimiter]:
        async with batched(server.url, timeout_seconds=timeout_seconds) as connection:
            counters = WarmingCounters(connection, lease_seconds=lease_seconds)
            limiter = RateLimiter(counters, warm=no_ledger, heartbeat_seconds=heartbeat_seconds, jitter=lambda: 0.5)
            await limiter.start()
            try:
                yield limiter
            finally:
                await limiter.aclose()

    return limiting


@pytest_asyncio.fixture
async def limiter(limiting: Limiting) -> AsyncIterator[RateLimiter]:
    async with limiting() as limiter:
        yield limiter


def counted(server: Server, principal: Principal) -> tuple[int, int]:
    """How many requests and tokens the tenant's window holds."""
    rates = server.ask("HMGET", f"nz:{{{principal.tenant_id.hex}}}:rates", "requests", "tokens")
    return int(rates[0] or 0), int(rates[1] or 0)


async def test_a_refusal_says_which_limit_its_figure_and_when_to_come_back(limiter: RateLimiter) -> None:
    principal = a_principal(key=Limits(rpm=1), tenant=Limits(concurrent=1))
    await limiter.admit(principal, uuid7(), 10)
    with pytest.raises(RateLimitedError) as caught:
        await limiter.admit(principal, uuid7(), 10)
    error = caught.value
    assert error.limit == "key.rpm"
    assert error.retry_after_seconds is not None
    assert 59 < error.retry_after_seconds <= 61
    assert error.message.startswith(
        "Rate limit reached for this key: 1 request a minute (key.rpm); 0 left. Try again in "
    )


async def test_a_refusal_for_too_many_at_once_carries_a_spread_hint(limiter: RateLimiter) -> None:
    principal = a_principal(tenant=Limits(concurrent=1))
    first = await limiter.admit(principal, uuid7(), 10)
    with pytest.raises(RateLimitedError) as caught:
        await limiter.admit(principal, uuid7(), 10)
    assert caught.value.message == (
        "Rate limit reached for this tenant: 1 request at once (tenant.concurrent); 0 left. Try again in 1 s."
    )
    assert caught.value.retry_after_seconds == 1.0
    limiter.close(first, 10)
    await limiter.admit(principal, uuid7(), 10)


@pytest.mark.parametrize("scope", ["tenant", "key"])
async def test_a_request_larger_than_the_whole_limit_is_wrong_rather_than_early(
    limiter: RateLimiter, server: Server, scope: str
) -> None:
    limits = Limits(tpm=1_000)
    principal = a_principal(tenant=limits) if scope == "tenant" else a_principal(key=limits)
    with pytest.raises(InvalidRequestError, match=rf"1,001 tokens.*1,000 tokens a minute \({scope}\.tpm\).*max_tokens"):
        await limiter.admit(principal, uuid7(), 1_001)
    assert server.contents() == {}
    await limiter.admit(principal, uuid7(), 1_000)


async def test_an_expired_key_is_a_bad_key(limiter: RateLimiter) -> None:
    now = (await limiter.admit(a_principal(), uuid7(), 1)).admitted_at
    with pytest.raises(UnauthenticatedError):
        await limiter.admit(a_principal(expires_at=now - timedelta(seconds=1)), uuid7(), 1)


async def test_only_the_first_close_counts(limiter: RateLimiter, server: Server) -> None:
    principal = a_principal()
    admission = await limiter.admit(principal, uuid7(), 100)
    limiter.close(admission, 30)
    limiter.close(admission, 90)
    limiter.close(admission, None)
    await limiter.aclose()
    assert counted(server, principal) == (1, 30)
    assert limiter.open_admissions == 0


@pytest.mark.promise("L2")
async def test_a_request_refused_at_a_later_step_consumes_nothing(limiter: RateLimiter, server: Server) -> None:
    principal = a_principal(key=Limits(rpm=1, tpm=100, concurrent=1), tenant=Limits(rpm=1, tpm=100, concurrent=1))
    for _ in range(5):
        limiter.close(await limiter.admit(principal, uuid7(), 100), None)
    await limiter.aclose()
    assert counted(server, principal) == (0, 0)
    assert server.held() == 0


@pytest.mark.promise("L4")
@pytest.mark.parametrize("steps", range(8))
async def test_a_caller_who_leaves_at_any_step_of_its_admission_leaves_nothing(
    limiter: RateLimiter, server: Server, steps: int
) -> None:
    principal = a_principal(key=Limits(concurrent=1))
    task = asyncio.create_task(limiter.admit(principal, uuid7(), 10))
    for _ in range(steps):
        await asyncio.sleep(0)
    if task.cancel():
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        limiter.close(task.result(), None)
    await limiter.aclose()
    assert server.held() == 0
    assert counted(server, principal) == (0, 0)


@pytest.mark.promise("L4")
async def test_random_cancels_leak_no_place(limiter: RateLimiter, server: Server) -> None:
    principal, dice = a_principal(tenant=Limits(concurrent=10)), random.Random(11)
    under_way, most, finished = 0, 0, 0
    limiter.close(await limiter.admit(principal, uuid7(), 10), None)  # whoever is first warms the tenant, uncancelled

    async def request() -> None:
        nonlocal under_way, most, finished
        admission, actual = await limiter.admit(principal, uuid7(), 10), None
        under_way += 1
        most = max(most, under_way)
        try:
            await asyncio.sleep(dice.random() / 50)
            actual = 7
            finished += 1
        finally:
            under_way -= 1
            limiter.close(admission, actual)

    for _ in range(20):
        tasks = [asyncio.create_task(request()) for _ in range(50)]
        for task in tasks:
            if dice.random() < 0.6:
                asyncio.get_running_loop().call_later(dice.random() / 50, task.cancel)
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} <= {type(None), asyncio.CancelledError, LimitReachedError}
    await limiter.aclose()
    assert 0 < most <= 10
    assert server.held() == 0
    assert counted(server, principal) == (finished, 7 * finished)


@pytest.mark.promise("F1", "L2")
async def test_an_admission_that_nobody_heard_of_is_undone_when_redis_is_back(
    limiting: Limiting, server: Server
) -> None:
    """The server stops with the call in its socket, so it runs the admission after everybody has given up on it."""
    principal = a_principal(key=Limits(rpm=1, concurrent=1))
    async with limiting(timeout_seconds=0.2) as limiter:
        limiter.close(await limiter.admit(a_principal(), uuid7(), 1), 1)
        with server.frozen(), pytest.raises(CountersUnavailableError) as caught:
            await limiter.admit(principal, uuid7(), 10)
        assert caught.value.retry_after_seconds == 1.0
        async with asyncio.timeout(2):
            while True:
                try:
                    await limiter.admit(principal, uuid7(), 10)
                except (CountersUnavailableError, RateLimitedError):
                    await asyncio.sleep(0.05)
                else:
                    break


@pytest.mark.promise("F1")
async def test_closings_wait_for_redis_to_come_back(limiting: Limiting, server: Server) -> None:
    principal = a_principal()
    async with limiting(timeout_seconds=0.2) as limiter:
        admissions = [await limiter.admit(principal, uuid7(), 100) for _ in range(50)]
        with server.frozen():
            for admission in admissions:
                limiter.close(admission, 10)
            await asyncio.sleep(0.5)
    assert counted(server, principal) == (50, 500)
    assert server.held() == 0
    assert limiter.dropped_closings == 0


async def test_an_open_admission_outlives_its_lease_by_heartbeats(limiting: Limiting) -> None:
    principal = a_principal(key=Limits(concurrent=1))
    async with limiting(lease_seconds=0.5, heartbeat_seconds=0.1) as limiter:
        admission = await limiter.admit(principal, uuid7(), 1)
        limiter.guard(admission, lambda _: pytest.fail("the lease was lost"))
        await asyncio.sleep(1.0)
        with pytest.raises(RateLimitedError):
            await limiter.admit(principal, uuid7(), 1)


async def test_whoever_lost_its_place_is_told(limiting: Limiting, server: Server) -> None:
    principal = a_principal()
    async with limiting(heartbeat_seconds=0.05) as limiter:
        admission = await limiter.admit(principal, uuid7(), 1)
        lost: asyncio.Queue[GatewayError] = asyncio.Queue()
        limiter.guard(admission, lost.put_nowait)
        server.ask("ZREM", f"nz:{{{principal.tenant_id.hex}}}:leases", admission.id.hex)
        async with asyncio.timeout(2):
            assert "its place under the limits was lost" in (await lost.get()).message


async def test_only_what_matches_is_cut_once_with_its_reason(limiting: Limiting) -> None:
    principal, other = a_principal(), a_principal()
    async with limiting() as limiter:
        mine, waiting, foreign = [await limiter.admit(each, uuid7(), 1) for each in (principal, principal, other)]
        told: list[GatewayError] = []
        limiter.guard(mine, told.append)
        limiter.guard(foreign, lambda _: pytest.fail("another key's"))
        error = AnswerCutError("revoked")
        assert limiter.cut(lambda each: each.api_key_id == principal.api_key_id, lambda: error) == 2
        assert limiter.running == (foreign,)
        assert limiter.cut(lambda each: each.api_key_id == principal.api_key_id, lambda: error) == 0
        assert limiter.guard(waiting, told.append) is error  # it was about to be forwarded
        await asyncio.sleep(0)
        assert told == [error]
        limiter.close(mine, 1)
        limiter.guard(mine, lambda _: pytest.fail("it is closed"))
        assert limiter.open_admissions == 2


async def test_an_owner_that_fails_when_told_does_not_end_the_heartbeats(limiting: Limiting, server: Server) -> None:
    seen: asyncio.Queue[str] = asyncio.Queue()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: seen.put_nowait(str(context["exception"])))

    def fail(_: GatewayError) -> None:
        raise RuntimeError("owner")

    principal = a_principal()
    async with limiting(heartbeat_seconds=0.05) as limiter:
        first, second = [await limiter.admit(principal, uuid7(), 1) for _ in range(2)]
        told: asyncio.Queue[GatewayError] = asyncio.Queue()
        limiter.guard(first, fail)
        limiter.guard(second, told.put_nowait)
        leases = f"nz:{{{principal.tenant_id.hex}}}:leases"
        server.ask("ZREM", leases, first.id.hex)
        async with asyncio.timeout(2):
            assert await seen.get() == "owner"
            server.ask("ZREM", leases, second.id.hex)
            await told.get()
    assert seen.empty()
