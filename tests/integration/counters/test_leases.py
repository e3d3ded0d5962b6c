"""Places under the concurrency limits."""

import asyncio
import random
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from neuronetz_gateway.counters.admissions import Closing, Expired, Refused
from neuronetz_gateway.counters.connection import BatchedRedis
from neuronetz_gateway.counters.errors import CountersUnavailableError, EvictingStoreError
from neuronetz_gateway.counters.leases import LeaseKeeper
from neuronetz_gateway.domain.admission import Admission
from neuronetz_gateway.domain.identifier import uuid7
from neuronetz_gateway.domain.limit import Limits
from neuronetz_gateway.domain.principal import Principal
from neuronetz_gateway.domain.rate_history import OpenRequest, RateHistory
from neuronetz_gateway.errors import GatewayError
from tests.support.counters import Server, WarmingCounters, a_principal, batched


async def admitted(counters: WarmingCounters, principal: Principal) -> Admission:
    verdict = await counters.admit(principal, uuid7(), 1)
    assert isinstance(verdict, Admission)
    return verdict


@pytest.mark.promise("L4")
@pytest.mark.parametrize("scope", ["tenant", "key"])
async def test_never_more_at_once_than_allowed(counters: WarmingCounters, server: Server, scope: str) -> None:
    limits = Limits(concurrent=5)
    principal = a_principal(tenant=limits) if scope == "tenant" else a_principal(key=limits)
    dice, under_way, most, served = random.Random(4), 0, 0, 0

    async def caller() -> None:
        nonlocal under_way, most, served
        for _ in range(10):
            verdict = await counters.admit(principal, uuid7(), 1)
            if not isinstance(verdict, Admission):
                assert verdict == Refused(f"{scope}.concurrent", 5, 0, 1.0)
                await asyncio.sleep(dice.random() / 100)
                continue
            under_way, served = under_way + 1, served + 1
            most = max(most, under_way)
            await asyncio.sleep(dice.random() / 100)
            under_way -= 1
            await counters.close(Closing.of(verdict, 1))

    await asyncio.gather(*(caller() for _ in range(40)))
    assert most == 5
    assert served > 5
    assert server.held() == 0


@pytest.mark.promise("L5")
async def test_a_place_whose_owner_died_is_free_when_its_lease_ends(connection: BatchedRedis) -> None:
    counters = WarmingCounters(connection, lease_seconds=0.3)
    principal = a_principal(key=Limits(concurrent=1))
    await admitted(counters, principal)
    assert isinstance(await counters.admit(principal, uuid7(), 1), Refused)
    await asyncio.sleep(0.31)
    await admitted(counters, principal)


async def test_heartbeats_keep_a_place(connection: BatchedRedis) -> None:
    counters = WarmingCounters(connection, lease_seconds=0.5)
    principal = a_principal(key=Limits(concurrent=1))
    admission = await admitted(counters, principal)
    for _ in range(4):
        await asyncio.sleep(0.2)
        assert await counters.heartbeat(principal.tenant_id, [admission]) == []
    assert isinstance(await counters.admit(principal, uuid7(), 1), Refused)


async def test_a_heartbeat_reports_the_places_that_are_gone(server: Server, counters: WarmingCounters) -> None:
    principal = a_principal()
    kept, gone = await admitted(counters, principal), await admitted(counters, principal)
    await counters.close(Closing.of(gone, 1))
    assert await counters.heartbeat(principal.tenant_id, [kept, gone]) == [gone]
    assert server.held() == 2  # the kept one, of the tenant and of the key


def open_requests(*admissions: Admission) -> RateHistory:
    """What the ledger remembers of requests under way."""
    return RateHistory(
        (),
        tuple(
            OpenRequest(admission.id, admission.api_key_id, int(admission.admitted_at.timestamp()), 1)
            for admission in admissions
        ),
    )


async def test_places_lost_with_the_memory_of_the_server_are_put_back(
    server: Server, counters: WarmingCounters
) -> None:
    """A restart of Redis once would have cut every stream: nobody had taken those places (DESIGN §4: unless cold)."""
    principal = a_principal(key=Limits(concurrent=3))
    before = [await admitted(counters, principal), await admitted(counters, principal)]
    server.ask("FLUSHALL")
    assert await counters.heartbeat(principal.tenant_id, before) == []
    assert server.held() == 0  # a heartbeat makes nobody warm
    counters.history = open_requests(*before)
    after = await admitted(counters, principal)
    assert isinstance(await counters.admit(principal, uuid7(), 1), Refused)
    assert await counters.heartbeat(principal.tenant_id, [*before, after]) == []
    assert server.held() == 6
    await counters.close(Closing.of(after, 1))
    assert await counters.heartbeat(principal.tenant_id, [*before, after]) == [after]


async def test_a_place_that_the_ledger_does_not_know_is_not_put_back(server: Server, counters: WarmingCounters) -> None:
    """It belongs to an admission without a reservation, which is stale by then: its undoing once would have taken away
    what another request of the same second counts."""
    principal = a_principal(key=Limits(rpm=2))
    unreserved, reserved = await admitted(counters, principal), await admitted(counters, principal)
    server.ask("FLUSHALL")
    counters.history = open_requests(reserved)
    await counters.make_warm(principal.tenant_id)
    assert await counters.heartbeat(principal.tenant_id, [unreserved, reserved]) == [unreserved]
    await counters.close(Closing.of(unreserved, None))
    assert (await counters.look(principal.tenant_id, principal.api_key_id)).key.requests == 1


async def test_an_expired_key_is_refused_by_the_clock_of_the_server(server: Server, counters: WarmingCounters) -> None:
    now = (await admitted(counters, a_principal())).admitted_at
    server.clear()
    expired = a_principal(expires_at=now)
    assert await counters.admit(expired, uuid7(), 1) == Expired()
    assert server.contents() == {}
    await admitted(counters, a_principal(expires_at=now + timedelta(minutes=1)))


async def test_the_keeper_tells_each_owner_once_that_its_place_is_lost(connection: BatchedRedis) -> None:
    counters = WarmingCounters(connection, lease_seconds=0.2)
    keeper = LeaseKeeper(counters, heartbeat_seconds=60)
    principal = a_principal(key=Limits(concurrent=1))
    told: list[GatewayError] = []
    lost = await admitted(counters, principal)
    keeper.hold(lost)
    keeper.guard(lost, told.append)
    await asyncio.sleep(0.21)
    heir = await admitted(counters, principal)
    keeper.hold(heir)
    for _ in range(2):
        await keeper.beat()
    await asyncio.sleep(0)
    assert len(told) == 1
    assert keeper.release(lost)
    assert not keeper.release(lost)
    assert len(keeper) == 1


async def test_an_owner_who_asks_late_is_told_as_well(connection: BatchedRedis) -> None:
    counters = WarmingCounters(connection)
    keeper = LeaseKeeper(counters, heartbeat_seconds=60)
    admission = await admitted(counters, a_principal())
    keeper.hold(admission)
    await counters.close(Closing.of(admission, 1))
    await keeper.beat()
    assert keeper.guard(admission, lambda _: pytest.fail("it was told already")) is not None


async def test_one_heartbeat_is_one_call_a_tenant(server: Server, counters: WarmingCounters) -> None:
    keeper = LeaseKeeper(counters, heartbeat_seconds=60)
    tenants = [uuid7(), uuid7()]
    for tenant_id in tenants * 20:
        keeper.hold(await admitted(counters, a_principal(tenant_id=tenant_id)))
    await keeper.beat()  # teaches the server the script
    server.ask("CONFIG", "RESETSTAT")
    await keeper.beat()
    assert server.ask("INFO", "commandstats")["cmdstat_evalsha"]["calls"] == 2
    assert server.held() == 80


async def test_an_evicting_server_is_refused(server: Server, counters: WarmingCounters) -> None:
    await counters.check_eviction_policy()
    server.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(EvictingStoreError, match="allkeys-lru"):
            await counters.check_eviction_policy()
    finally:
        server.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")


async def test_places_that_ran_out_while_the_server_was_away_are_put_back(tmp_path: Path) -> None:
    """A Redis that came back with all its data, but later than a lease lasts, had every running stream cut.

    Nobody could have taken those places. It was known for a server without memory alone (DESIGN §4: unless cold).
    """
    server = Server(tmp_path)
    try:
        async with batched(server.url) as connection:
            counters = WarmingCounters(connection, lease_seconds=1.0)
            principal = a_principal(key=Limits(concurrent=2))
            before = await admitted(counters, principal)
            server.kill()
            await asyncio.sleep(2.1)
            server.revive()
            assert await _served(counters, before) == []
            counters.history = open_requests(before)
            after = await admitted(counters, principal)
            assert isinstance(await counters.admit(principal, uuid7(), 1), Refused)
            await counters.close(Closing.of(after, 1))
            assert await counters.heartbeat(principal.tenant_id, [before, after]) == [after]
    finally:
        server.stop()


async def _served(counters: WarmingCounters, admission: Admission) -> list[Admission]:
    while True:
        try:
            return await counters.heartbeat(admission.tenant_id, [admission])
        except CountersUnavailableError:
            await asyncio.sleep(0.05)


class OddCounters(WarmingCounters):
    """Has a defect that shows once, in a heartbeat."""

    shown = False

    async def heartbeat(self, tenant_id: UUID, admissions: Sequence[Admission]) -> list[Admission]:
        if not self.shown:
            self.shown = True
            raise RuntimeError("nobody thought of this")
        return await super().heartbeat(tenant_id, admissions)


async def test_a_defect_in_one_heartbeat_does_not_end_those_that_follow(connection: BatchedRedis) -> None:
    """The task ended in silence; half a minute later every place under every limit was free to be taken twice."""
    counters = OddCounters(connection, lease_seconds=2.0)
    keeper = LeaseKeeper(counters, heartbeat_seconds=0.1)
    await keeper.start()
    principal = a_principal(key=Limits(concurrent=1))
    keeper.hold(await admitted(counters, principal))
    await asyncio.sleep(2.4)
    assert isinstance(await counters.admit(principal, uuid7(), 1), Refused)
    assert counters.shown
    await keeper.aclose()
