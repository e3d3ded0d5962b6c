"""What Redis lost is given back before anything more is admitted, to the request and to the token."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from neuronetz_gateway.counters.admissions import Closing, Cold, Outdated, RateCounters, RebuildNotBegun, Seen
from neuronetz_gateway.counters.connection import BatchedRedis
from neuronetz_gateway.db.database import Database
from neuronetz_gateway.domain.admission import Admission
from neuronetz_gateway.domain.audit import Outcome
from neuronetz_gateway.domain.identifier import uuid7
from neuronetz_gateway.domain.principal import Principal
from neuronetz_gateway.domain.rate_history import NO_HISTORY, Bucket, OpenRequest, RateHistory
from neuronetz_gateway.errors import RateLimitedError, StalePrincipalError, UnavailableError
from neuronetz_gateway.repositories.admitted_requests import AdmittedRequests
from neuronetz_gateway.repositories.unit_of_work import unit_of_work
from neuronetz_gateway.services.rate_rebuilding import RateRebuilder
from tests.support.counters import Server, a_principal, batched
from tests.support.ledgers import World, completed, make_ask, make_database, until
from tests.support.rebuilding import Process, process

CLOSED_PORT = "postgresql+asyncpg://gateway@127.0.0.1:1/gateway"


@pytest.fixture(scope="module")
def _started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("b"))
    yield server
    server.stop()


@pytest.fixture
def server(_started: Server) -> Server:
    _started.clear()
    return _started


@pytest.fixture
async def gateway(world: World, server: Server) -> AsyncIterator[Process]:
    async with process(world, server.url) as gateway:
        yield gateway


async def another_key(world: World, tenant: Principal) -> Principal:
    key_id = uuid7()
    async with unit_of_work(world.database) as uow:
        await uow.api_keys.add(
            tenant.tenant_id, key_id, name="more", prefix=f"nz_{key_id.hex[-9:]}", secret_hash="hash", digest=b"digest",
            pepper_id="pepper", created_at=datetime.now(UTC),
        )  # fmt: skip
    return await world.principal(f"nz_{key_id.hex[-9:]}")


async def limit(world: World, principal: Principal, limits: str) -> None:
    await world.sql(f"update tenants set {limits} where id = $1", principal.tenant_id)  # noqa: S608 - a constant


async def seen_by(gateway: Process, principal: Principal) -> Seen:
    seen = await gateway.counters.look(principal.tenant_id, principal.api_key_id)
    assert isinstance(seen, Seen)
    return seen


async def end_somehow(gateway: Process, admission: Admission, dice: random.Random) -> None:
    outcome = dice.choice((Outcome.COMPLETED, Outcome.CUT, Outcome.UPSTREAM_REFUSED, Outcome.NOT_FORWARDED))
    tokens = dice.randrange(30) if outcome in {Outcome.COMPLETED, Outcome.CUT} else 0
    gateway.ledger.settle(completed(admission.id, tokens, outcome))
    gateway.limiter.close(admission, None if outcome is Outcome.NOT_FORWARDED else tokens)


@pytest.mark.promise("B4")
async def test_what_is_rebuilt_is_what_was_lost(server: Server, world: World, gateway: Process) -> None:
    """Requests and tokens of each second, places; of the tenant and of each key."""
    keys = [await world.caller()]
    keys += [await another_key(world, keys[0]) for _ in range(2)]
    dice = random.Random(7)
    for _ in range(90):
        admission = await gateway.let_in(dice.choice(keys).key_prefix, dice.choice((0, 5, 40)))
        await asyncio.sleep(dice.random() / 30)
        if dice.random() < 0.7:
            await end_somehow(gateway, admission, dice)
    await until(lambda: settled(gateway))
    lost = [await seen_by(gateway, key) for key in keys]
    buckets = {name: value for name, value in server.contents().items() if ":rates" in name}
    server.ask("FLUSHALL")
    assert await gateway.counters.look(keys[0].tenant_id, keys[0].api_key_id) == Cold()
    await gateway.rebuilder.warm(keys[0])
    rebuilt = [await seen_by(gateway, key) for key in keys]
    for before, after in zip(lost, rebuilt, strict=True):
        for one, other in ((before.tenant, after.tenant), (before.key, after.key)):
            assert (one.requests, one.tokens, one.concurrent) == (other.requests, other.tokens, other.concurrent)
    assert {name: value for name, value in server.contents().items() if ":rates" in name} == buckets
    assert lost[0].tenant.concurrent > 5
    print(f"B4: {lost[0].tenant.requests} requests, {lost[0].tenant.tokens} tokens, all rebuilt")


async def settled(gateway: Process) -> bool:
    return not gateway.ledger.pending


@pytest.mark.promise("B4", "L1")
async def test_what_the_lost_redis_admitted_can_no_longer_be_reserved(
    server: Server, world: World, gateway: Process
) -> None:
    principal = await world.caller()
    await gateway.let_in(principal.key_prefix)
    principal = gateway.known[principal.key_prefix]
    homeless = await gateway.limiter.admit(principal, uuid7(), 10)
    server.ask("FLUSHALL")
    await gateway.rebuilder.warm(principal)
    with pytest.raises(StalePrincipalError):
        await gateway.ledger.reserve(principal, make_ask(id=homeless.id, admitted_at=homeless.admitted_at))
    gateway.limiter.close(homeless, None)
    seen = await seen_by(gateway, principal)
    assert (seen.key.requests, seen.key.concurrent) == (1, 1)
    assert await gateway.counters.admit(principal, uuid7(), 1) == Outdated()  # without asking Postgres
    await gateway.let_in(principal.key_prefix)


@pytest.mark.promise("B4", "L1")
async def test_a_reservation_under_way_is_waited_for(world: World, gateway: Process) -> None:
    """It read the versions before the rebuild raises them, so it is good: it has to be counted."""
    principal = await world.caller()
    async with world.connection() as other:
        transaction = other.transaction()
        await transaction.start()
        await other.execute(
            "insert into budget_usage (tenant_id, scope_id, period, window_start) "
            "values ($1, $1, 'total', to_timestamp(0))",
            principal.tenant_id,
        )
        warming = asyncio.create_task(gateway.rebuilder.warm(principal))
        await until(lambda: waiting(world))
        await other.execute(
            "insert into reservations (id, process_id, tenant_id, api_key_id, day, month, reserved, prompt_bound, "
            "model, endpoint, request_id, address, user_agent, admitted_at, estimated_tokens) "
            "values ($1, $1, $2, $3, now(), now(), 9, 9, 'm', '/api/chat', 'r', '', '', now(), 33)",
            uuid7(), principal.tenant_id, principal.api_key_id,
        )  # fmt: skip
        assert not warming.done()
        await transaction.commit()
    await warming
    seen = await seen_by(gateway, principal)
    assert (seen.key.requests, seen.key.tokens, seen.key.concurrent) == (1, 33, 1)


async def waiting(world: World) -> bool:
    return bool((await world.sql("select count(*) from pg_locks where not granted"))[0][0])


@pytest.mark.promise("B4", "L1")
async def test_exactly_the_limit_is_reserved_through_flushes_in_two_processes(server: Server, world: World) -> None:
    """The last minute was forgotten by a flush, so that each one let a whole limit in again."""
    principal = await world.caller()
    await limit(world, principal, "rpm = 60")
    dice, granted, refused = random.Random(3), 0, 0

    async def caller(gateway: Process) -> None:
        nonlocal granted, refused
        await asyncio.sleep(dice.random() * 1.2)
        while True:
            try:
                admission = await gateway.let_in(principal.key_prefix)
            except RateLimitedError:
                refused += 1
                return
            except UnavailableError:
                await asyncio.sleep(0.01)
            else:
                granted += 1
                if dice.random() < 0.5:
                    gateway.ledger.settle(completed(admission.id, 5))
                    gateway.limiter.close(admission, 5)
                return

    async with process(world, server.url) as one, process(world, server.url) as other:
        callers = [asyncio.create_task(caller((one, other)[number % 2])) for number in range(200)]
        for _ in range(6):
            await asyncio.sleep(0.2)
            server.ask("FLUSHALL")
        await asyncio.gather(*callers)
    assert (granted, refused) == (60, 140)
    rows = await world.sql("select count(*) from audit_log where outcome = 'completed'")
    assert rows[0][0] + await world.count("reservations") == 60
    print(f"B4: 6 flushes in 1.2 s over two processes: {granted} of 200 let in at a limit of 60")


@pytest.mark.promise("B4", "L4")
async def test_places_are_never_given_twice_through_flushes_in_two_processes(server: Server, world: World) -> None:
    principal = await world.caller()
    await limit(world, principal, "concurrent = 5")
    dice, under_way, most, served = random.Random(4), 0, 0, 0
    ends_at, latest_at = time.monotonic() + 2, time.monotonic() + 30

    def goes_on() -> bool:
        return time.monotonic() < (ends_at if served >= 20 else latest_at)

    async def caller(gateway: Process) -> None:
        nonlocal under_way, most, served
        while goes_on():
            try:
                admission = await gateway.let_in(principal.key_prefix)
            except (RateLimitedError, UnavailableError):
                await asyncio.sleep(0.02)
                continue
            under_way, served = under_way + 1, served + 1
            most = max(most, under_way)
            await asyncio.sleep(dice.random() / 10)
            under_way -= 1
            gateway.ledger.settle(completed(admission.id, 5))
            gateway.limiter.close(admission, 5)

    async with process(world, server.url) as one, process(world, server.url) as other:
        callers = [asyncio.create_task(caller((one, other)[number % 2])) for number in range(16)]
        while goes_on():
            await asyncio.sleep(0.3)
            server.ask("FLUSHALL")
        await asyncio.gather(*callers)
    assert 0 < most <= 5
    print(f"B4: {served} requests through 7 flushes, at most {most} of 5 places taken at once")


async def test_those_who_find_a_tenant_cold_together_rebuild_it_once(world: World, gateway: Process) -> None:
    principal = await world.caller()
    await asyncio.gather(*(gateway.rebuilder.warm(principal) for _ in range(50)))
    assert (await world.principal(principal.key_prefix)).tenant_version == principal.tenant_version + 1


async def test_a_caller_who_leaves_does_not_end_the_rebuild_of_the_others(world: World, gateway: Process) -> None:
    principal = await world.caller()
    leaving, staying = (asyncio.create_task(gateway.rebuilder.warm(principal)) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    await staying
    assert (await seen_by(gateway, principal)).tenant.requests == 0


async def test_a_tenant_that_is_gone_is_not_made_warm(world: World, gateway: Process) -> None:
    stranger = a_principal()
    with pytest.raises(StalePrincipalError):
        await gateway.rebuilder.warm(stranger)
    assert await gateway.counters.look(stranger.tenant_id, stranger.api_key_id) == Cold()
    assert await world.count("budget_usage") == 0


@pytest.mark.promise("F1", "D2")
async def test_without_postgres_a_cold_tenant_is_refused_in_time(server: Server) -> None:
    away = make_database(CLOSED_PORT)
    async with batched(server.url) as connection:
        rebuilder = RateRebuilder(AdmittedRequests(away), RateCounters(connection), within_seconds=0.5)
        began = time.monotonic()
        errors = await asyncio.gather(*(rebuilder.warm(a_principal()) for _ in range(20)), return_exceptions=True)
        assert time.monotonic() - began < 0.5 * 3
        assert {type(error) for error in errors} == {UnavailableError}
        assert len({id(error) for error in errors}) == 20
        await rebuilder.aclose()
    await away.aclose()


@pytest.mark.promise("F1", "D2")
async def test_a_postgres_that_hangs_holds_nobody_for_long(server: Server, world: World, database: Database) -> None:
    principal = await world.caller()
    async with batched(server.url) as connection, world.connection() as other:
        rebuilder = RateRebuilder(AdmittedRequests(database), RateCounters(connection), within_seconds=0.3)
        async with other.transaction():
            await other.execute("lock table budget_usage in access exclusive mode")
            began = time.monotonic()
            with pytest.raises(UnavailableError):
                await rebuilder.warm(principal)
            assert time.monotonic() - began < 0.3 * 3
        await rebuilder.aclose()


async def test_an_evicting_redis_makes_nobody_warm(server: Server, world: World, gateway: Process) -> None:
    """It would make tenants cold again as it likes, or forget their counters alone, which nobody could see."""
    principal = await world.caller()
    await gateway.counters.look(principal.tenant_id, principal.api_key_id)
    server.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(UnavailableError):
            await gateway.rebuilder.warm(principal)
    finally:
        server.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")


@pytest.fixture
async def connection(server: Server) -> AsyncIterator[BatchedRedis]:
    async with batched(server.url) as connection:
        yield connection


async def begun(counters: RateCounters, tenant_id: UUID, *, within_seconds: float = 60) -> UUID:
    rebuild_id = uuid7()
    assert isinstance(await counters.begin_rebuild(tenant_id, rebuild_id, within_seconds=within_seconds), datetime)
    return rebuild_id


@pytest.mark.promise("L1")
@pytest.mark.parametrize("loss", ["nothing", "flush", "restart"])
async def test_a_rebuild_that_comes_late_after_another_loss_is_refused(
    server: Server, connection: BatchedRedis, loss: str
) -> None:
    """What it read is out of date: another process made the tenant warm, requests were admitted, all was lost again."""
    counters, principal = RateCounters(connection), a_principal()
    tenant_id = principal.tenant_id
    late = await begun(counters, tenant_id, within_seconds=0.05)
    await asyncio.sleep(0.06)
    other = await begun(counters, tenant_id)
    assert not await counters.finish_rebuild(tenant_id, late, 1, NO_HISTORY)
    assert await counters.finish_rebuild(tenant_id, other, 1, NO_HISTORY)
    assert isinstance(await counters.admit(principal, uuid7(), 1), Admission)
    if loss == "nothing":
        assert await counters.finish_rebuild(tenant_id, late, 1, NO_HISTORY)  # which changes nothing
        assert await counters.begin_rebuild(tenant_id, late, within_seconds=1) is RebuildNotBegun.WARM
        seen = await counters.look(tenant_id, principal.api_key_id)
        assert isinstance(seen, Seen)
        assert seen.key.requests == 1
        return
    if loss == "flush":
        server.ask("FLUSHALL")
    else:
        server.kill()
        server.revive()
        await until(lambda: answers(connection))
    assert not await counters.finish_rebuild(tenant_id, late, 1, NO_HISTORY)
    assert await counters.admit(principal, uuid7(), 1) == Cold()


@pytest.mark.promise("L1")
@pytest.mark.parametrize("loss", ["flush", "restart"])
async def test_a_rebuild_during_which_all_is_lost_again_is_refused(
    server: Server, connection: BatchedRedis, loss: str
) -> None:
    counters, principal = RateCounters(connection), a_principal()
    rebuild_id = await begun(counters, principal.tenant_id)
    other = await counters.begin_rebuild(principal.tenant_id, uuid7(), within_seconds=1)
    assert other is RebuildNotBegun.UNDER_WAY
    if loss == "flush":
        server.ask("FLUSHALL")
    else:
        server.kill()
        server.revive()
        await until(lambda: answers(connection))
    assert not await counters.finish_rebuild(principal.tenant_id, rebuild_id, 1, NO_HISTORY)
    await begun(counters, principal.tenant_id)  # nobody has to wait for the one that failed


async def answers(connection: BatchedRedis) -> bool:
    try:
        await connection.call("PING")
    except UnavailableError:
        return False
    return True


async def test_a_large_tenant_is_rebuilt_in_one_script(connection: BatchedRedis) -> None:
    """Lua's unpack holds eight thousand; a tenant has as many buckets as it has keys times seconds."""
    counters, tenant_id = RateCounters(connection), uuid7()
    keys = [uuid7() for _ in range(60)]
    rebuild_id = await begun(counters, tenant_id)
    newest = int(datetime.now(UTC).timestamp()) - 1
    buckets = tuple(Bucket(key, newest - second, 2, 30) for key in keys for second in range(48))
    under_way = tuple(OpenRequest(uuid7(), keys[number % 60], newest, 3) for number in range(10_000))
    began = time.monotonic()
    assert await counters.finish_rebuild(tenant_id, rebuild_id, 1, RateHistory(buckets, under_way))
    print(f"B4: {len(buckets)} buckets and {len(under_way)} places written in {time.monotonic() - began:.3f} s")
    seen = await counters.look(tenant_id, keys[0])
    assert isinstance(seen, Seen)
    assert (seen.tenant.requests, seen.tenant.tokens, seen.tenant.concurrent) == (15_760, 116_400, 10_000)
    assert (seen.key.requests, seen.key.tokens, seen.key.concurrent) == (263, 1941, 167)


async def test_what_lies_ahead_of_the_new_servers_clock_counts_from_now(connection: BatchedRedis) -> None:
    """A server that took over with a clock behind the last one's would otherwise count it until its own gets there."""
    counters, principal = RateCounters(connection, window_seconds=1), a_principal()
    rebuild_id = await begun(counters, principal.tenant_id)
    ahead, past = datetime.now(UTC) + timedelta(hours=1), datetime.now(UTC) - timedelta(seconds=30)
    buckets = tuple(Bucket(principal.api_key_id, int(at.timestamp()), 3, 3) for at in (ahead, past))
    assert await counters.finish_rebuild(principal.tenant_id, rebuild_id, 1, RateHistory(buckets, ()))
    seen = await counters.look(principal.tenant_id, principal.api_key_id)
    assert isinstance(seen, Seen)
    assert seen.key.requests == 3
    assert seen.key.requests_reset_seconds is not None
    assert seen.key.requests_reset_seconds <= 2
    await asyncio.sleep(seen.key.requests_reset_seconds)
    later = await counters.look(principal.tenant_id, principal.api_key_id)
    assert isinstance(later, Seen)
    assert later.key.requests == 0


def open_request(principal: Principal) -> tuple[Admission, RateHistory]:
    """A request under way that the ledger remembers, with an estimate of 100 tokens."""
    now = datetime.now(UTC)
    admission = Admission(uuid7(), principal.tenant_id, principal.api_key_id, now, 100)
    return admission, RateHistory((), (OpenRequest(admission.id, principal.api_key_id, int(now.timestamp()), 100),))


async def held(counters: RateCounters, principal: Principal) -> set[tuple[int, int, int]]:
    """Requests, tokens, places of the tenant and of the key: a set of one where they agree."""
    seen = await counters.look(principal.tenant_id, principal.api_key_id)
    assert isinstance(seen, Seen)
    return {(use.requests, use.tokens, use.concurrent) for use in (seen.tenant, seen.key)}


@pytest.mark.parametrize(("actual", "left"), [(30, (1, 30, 0)), (None, (0, 0, 0))])
async def test_a_rebuilt_place_is_freed_and_corrected_as_any_other(
    connection: BatchedRedis, actual: int | None, left: tuple[int, int, int]
) -> None:
    counters, principal = RateCounters(connection), a_principal()
    rebuild_id = await begun(counters, principal.tenant_id)
    admission, history = open_request(principal)
    assert await counters.finish_rebuild(principal.tenant_id, rebuild_id, 1, history)
    assert await held(counters, principal) == {(1, 100, 1)}
    assert await counters.heartbeat(principal.tenant_id, [admission]) == []
    assert await counters.close(Closing.of(admission, actual)) == 1
    assert await held(counters, principal) == {left}


@pytest.mark.promise("L2", "L4")
@pytest.mark.parametrize(("actual", "left"), [(30, (1, 30, 0)), (None, (0, 0, 0))])
async def test_who_ends_while_its_tenant_is_rebuilt_holds_nothing_after_it(
    connection: BatchedRedis, actual: int | None, left: tuple[int, int, int]
) -> None:
    """The ledger had shown it open, and its end came to a server that did not know it: its place was taken for half a
    minute by nobody. Under load one flush took all the places of a tenant."""
    counters, principal = RateCounters(connection), a_principal()
    rebuild_id = await begun(counters, principal.tenant_id)
    admission, history = open_request(principal)
    assert await counters.close(Closing.of(admission, actual)) == 0
    assert await counters.finish_rebuild(principal.tenant_id, rebuild_id, 1, history)
    assert await held(counters, principal) == {left}
