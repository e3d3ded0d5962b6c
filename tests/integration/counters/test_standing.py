"""What callers are told of their limits, held against a count of our own."""

import asyncio
import random
from collections.abc import Sequence
from datetime import timedelta

import pytest

from neuronetz_gateway.counters.admissions import Closing, Cold, RateCounters, Refused
from neuronetz_gateway.counters.connection import BatchedRedis
from neuronetz_gateway.domain.admission import Admission
from neuronetz_gateway.domain.identifier import uuid7
from neuronetz_gateway.domain.limit import Limits
from neuronetz_gateway.domain.principal import Principal
from neuronetz_gateway.domain.standing import AxisStanding
from tests.support.counters import Server, WarmingCounters, a_principal
from tests.support.window_book import Entry, WindowBook

# By the scope that mostly binds: the tenant's limits, those of its keys.
LIMITS = {
    "tenant": (Limits(rpm=14, tpm=180), (Limits(rpm=12, tpm=160), Limits(rpm=13), Limits(tpm=170), Limits())),
    "key": (Limits(rpm=40, tpm=900, concurrent=30), (Limits(rpm=3, concurrent=4), Limits(tpm=120), Limits(4, 200))),
}


class Traffic:
    """Several keys of one tenant at random, one step after another, so that every figure is known."""

    def __init__(self, counters: WarmingCounters, tenant: Limits, keys: Sequence[Limits]) -> None:
        self.counters, self.book, self.dice = counters, WindowBook(1), random.Random(5)
        tenant_id = uuid7()
        self.principals = [a_principal(tenant=tenant, key=limits, tenant_id=tenant_id) for limits in keys]
        self.open: list[tuple[Admission, Entry]] = []
        self.refused_by: set[str] = set()

    async def step(self) -> None:
        principal = self.dice.choice(self.principals)
        if self.open and self.dice.random() < 0.45:
            await self.close()
        else:
            await self.ask(principal)
        await self.look(principal)

    async def ask(self, principal: Principal) -> None:
        tokens = self.dice.choice((0, 0, 20, 60, 90))
        verdict = await self.counters.admit(principal, uuid7(), tokens)
        if isinstance(verdict, Admission):
            self.open.append((verdict, self.book.admitted(principal, verdict.admitted_at, tokens)))
            assert verdict.standing is not None
            assert verdict.standing == self.book.standing(principal, verdict.admitted_at, None)
        else:
            assert isinstance(verdict, Refused)
            self.refused_by.add(verdict.limit)
            assert verdict.standing is not None
            assert verdict.standing == self.book.standing(principal, verdict.standing.at, verdict.limit)

    async def close(self) -> None:
        admission, entry = self.open.pop(self.dice.randrange(len(self.open)))
        actual = self.dice.choice((None, 0, 10, admission.estimated_tokens))
        await self.counters.close(Closing.of(admission, actual))
        self.book.closed(entry, actual)

    async def look(self, principal: Principal) -> None:
        seen = await self.counters.look(principal.tenant_id, principal.api_key_id)
        assert seen.tenant == self.book.use(principal, "tenant", seen.at)
        assert seen.key == self.book.use(principal, "key", seen.at)


@pytest.mark.promise("L7")
@pytest.mark.parametrize("scope", ["tenant", "key"])
async def test_what_is_told_equals_a_count_of_our_own(connection: BatchedRedis, scope: str) -> None:
    """Also what a look tells: it reads with the same script as an admission, so neither can disagree."""
    traffic = Traffic(WarmingCounters(connection, window_seconds=1), *LIMITS[scope])
    for step in range(240):
        await traffic.step()
        if step % 10 == 0:
            await asyncio.sleep(0.1)
        if step == 150:
            await asyncio.sleep(2.2)  # idle for longer than a window
    assert traffic.refused_by >= {f"{scope}.rpm", f"{scope}.tpm"}, "hardly any limit was touched"


async def test_a_look_writes_nothing(server: Server, connection: BatchedRedis) -> None:
    counters = WarmingCounters(connection, window_seconds=1)
    principal = a_principal(key=Limits(rpm=5))
    for _ in range(3):
        await counters.admit(principal, uuid7(), 10)
        await asyncio.sleep(0.8)  # some have left their window without having been subtracted

    def stored() -> dict[str, object]:
        names = [name.decode() for name in server.ask("KEYS", "*")]
        return {name: server.ask("DUMP", name) for name in names}

    stranger = uuid7()
    await counters.make_warm(stranger)
    before = stored()
    for _ in range(3):
        await counters.look(principal.tenant_id, principal.api_key_id)
        await counters.look(stranger, uuid7())
    assert await RateCounters(connection).look(uuid7(), uuid7()) == Cold()
    assert stored() == before


async def test_a_key_that_never_asked_holds_nothing(counters: WarmingCounters) -> None:
    seen = await counters.look(uuid7(), uuid7())
    assert seen.key == seen.tenant
    standing = seen.key.held_against(Limits(rpm=5, tpm=7, concurrent=2))
    assert (standing.rpm, standing.tpm) == (AxisStanding(5, 5, 0.0), AxisStanding(7, 7, 0.0))
    assert standing.concurrent == AxisStanding(2, 2, None)


@pytest.mark.promise("L7")
async def test_without_limits_nothing_is_told(counters: WarmingCounters) -> None:
    verdict = await counters.admit(a_principal(key=Limits(concurrent=1)), uuid7(), 10)
    assert isinstance(verdict, Admission)
    assert verdict.standing is None


@pytest.mark.promise("L7")
async def test_all_is_left_again_at_the_moment_that_was_told(connection: BatchedRedis) -> None:
    counters = WarmingCounters(connection, window_seconds=1)
    principal = a_principal(key=Limits(rpm=3, tpm=100))
    for _ in range(2):
        last = await counters.admit(principal, uuid7(), 30)
        await asyncio.sleep(0.3)
    assert isinstance(last, Admission)
    assert last.standing is not None
    assert last.standing.requests is not None
    seconds = last.standing.requests.reset_seconds
    assert seconds is not None
    assert last.standing.tokens == AxisStanding(100, 40, seconds)
    moment = last.admitted_at + timedelta(seconds=seconds)
    while True:
        seen = await counters.look(principal.tenant_id, principal.api_key_id)
        assert (seen.key.requests > 0, seen.key.tokens > 0) == (seen.at < moment, seen.at < moment)
        if seen.at >= moment:
            break
        await asyncio.sleep(0.01)


@pytest.mark.promise("L7")
async def test_of_fifty_at_once_each_is_told_another_rest(counters: WarmingCounters) -> None:
    principal = a_principal(key=Limits(rpm=60), tenant=Limits(rpm=80))
    verdicts = await asyncio.gather(*(counters.admit(principal, uuid7(), 0) for _ in range(50)))
    rests = [verdict.standing.requests for verdict in verdicts if isinstance(verdict, Admission) and verdict.standing]
    assert sorted(rest.left for rest in rests if rest) == list(range(10, 60))
    assert {rest.limit for rest in rests if rest} == {60}
