"""Storms of everything at once: lost memory, ended sessions, callers who leave at any await."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import UUID

import pytest
from redis.asyncio import Redis

from neuronetz_gateway.domain.identifier import uuid7
from neuronetz_gateway.domain.principal import Principal
from neuronetz_gateway.errors import GatewayError
from neuronetz_gateway.repositories.ledger import Ledger
from neuronetz_gateway.services.budgeting import BudgetLedger
from neuronetz_gateway.services.process_life import ProcessLife
from tests.support.counters import Server
from tests.support.ended_sessions import end_sessions, end_sessions_at_random
from tests.support.ledgers import World, completed, make_ask, make_database, refusal_of
from tests.support.rebuilding import Process, process

RPM = 30
FORWARDED = (
    "select id from reservations union select id from audit_log where outcome not in ('not_forwarded', 'refused')"
)
SECONDS = pytest.mark.parametrize("seconds", [4, pytest.param(8, marks=pytest.mark.full)])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("r"))
    yield server
    server.stop()


class Storm:
    """What falls to the dice in a storm of so many seconds."""

    def __init__(self, seed: int, seconds: float) -> None:
        self.dice = random.Random(seed)
        self.until = asyncio.get_running_loop().time() + seconds
        self.seen: Counter[str] = Counter()

    def blows(self) -> bool:
        return asyncio.get_running_loop().time() < self.until


@SECONDS
@pytest.mark.promise("B4", "L1")
async def test_a_redis_that_loses_its_memory_again_and_again_lets_nobody_past_a_limit(
    world: World, server: Server, seconds: float
) -> None:
    """Two processes, 8 callers who leave at random, FLUSHALL, ended sessions: 30 requests a minute, not one more."""
    caller = await world.caller()
    await world.sql("update tenants set rpm = $2 where id = $1", caller.tenant_id, RPM)
    storm, let_in = Storm(7, seconds), list[UUID]()
    brief = {"statement_timeout_seconds": 2}  # for as long an ended session leaves doubts, which leaving waits for
    async with process(world, server.url, **brief) as one, process(world, server.url, **brief) as other:
        asking = (_ask_impatiently(storm, [one, other], caller.key_prefix, let_in) for _ in range(8))
        await asyncio.gather(*asking, _lose_memory(storm, world, server))
    print(f"B4: {dict(storm.seen)} in {seconds} s over two processes, at a limit of {RPM}")
    assert set(let_in) <= {row[0] for row in await world.sql(FORWARDED)}
    assert len(let_in) <= RPM
    assert storm.seen["let in"]


async def _ask_impatiently(storm: Storm, gateways: list[Process], prefix: str, let_in: list[UUID]) -> None:
    while storm.blows():
        gateway = storm.dice.choice(gateways)
        try:
            async with asyncio.timeout(storm.dice.choice([5, 5, 0.001, 0.004, 0.01, 0.03])):
                admission = await gateway.let_in(prefix)
        except (GatewayError, TimeoutError) as error:
            storm.seen[type(error).__name__] += 1
            await asyncio.sleep(storm.dice.random() / 20)
            continue
        let_in.append(admission.id)
        storm.seen["let in"] += 1
        if storm.dice.random() < 0.7:
            gateway.ledger.settle(completed(admission.id))
            gateway.limiter.close(admission, 70)


async def _lose_memory(storm: Storm, world: World, server: Server) -> None:
    async with Redis.from_url(server.url) as client:
        while storm.blows():
            await asyncio.sleep(storm.dice.random() / 15)
            await client.flushall()
            storm.seen["flushed"] += 1
            if storm.dice.random() < 0.1:
                await end_sessions(world, storm.dice.choice(["reserve", "settle"]))


@SECONDS
@pytest.mark.promise("B2", "D1")
async def test_ended_sessions_and_leaving_callers_lose_nothing(world: World, seconds: float) -> None:
    """Two processes, callers that leave at any await, all sessions of the ledger ended again and again."""
    caller, storm = await world.caller(), Storm(3, seconds)
    fates: dict[UUID, str] = {}
    async with _impatient_ledger(world, 0.01) as one, _impatient_ledger(world, 0.9) as other:
        asking = (_reserve_impatiently(storm, [one, other], caller, fates) for _ in range(20))
        await asyncio.gather(*asking, end_sessions_at_random(world, storm.dice, until=storm.until))
        async with asyncio.timeout(20):
            while one.pending or other.pending:
                await asyncio.sleep(0.05)
    rows = {row["id"]: row["n"] for row in await world.sql("select id, count(*) as n from audit_log group by id")}
    counts = Counter(fates.values())
    print(f"D1: {dict(counts)} of {len(fates)} in {seconds} s, {len(rows)} audit rows")
    wrong = Counter(fate for asked, fate in fates.items() if not _is_right(fate, rows.get(asked, 0)))
    assert (wrong["served"], wrong["refused"], wrong["left"]) == (0, 0, 0)
    assert await world.count("reservations") == 0
    assert await world.usage(caller) == {(70 * counts["served"], 0)}


def _is_right(fate: str, rows: int) -> bool:
    return rows == 1 or (fate == "left" and rows == 0)


@asynccontextmanager
async def _impatient_ledger(world: World, answer_within_seconds: float) -> AsyncIterator[BudgetLedger]:
    async with AsyncExitStack() as closing:
        database = make_database(world.url, statement_timeout_seconds=2, lock_timeout_seconds=1)
        closing.push_async_callback(database.aclose)
        repository = Ledger(database)
        life = ProcessLife(repository, new_id=uuid7, heartbeat_seconds=0.2)
        ledger = BudgetLedger(
            repository, life=life, statement_timeout_seconds=2, answer_within_seconds=answer_within_seconds
        )
        await ledger.start()
        closing.push_async_callback(ledger.aclose)
        yield ledger


async def _reserve_impatiently(
    storm: Storm, ledgers: list[BudgetLedger], caller: Principal, fates: dict[UUID, str]
) -> None:
    while storm.blows():
        asked, ledger = make_ask(), storm.dice.choice(ledgers)
        try:
            async with asyncio.timeout(storm.dice.choice([5, 5, 0.0, 0.001, 0.003, 0.01])):
                held = await ledger.reserve(caller, asked)
        except TimeoutError:
            fates[asked.id] = "left"
        except GatewayError:
            fates[asked.id] = "refused"
            ledger.refuse(refusal_of(caller, asked))
            await asyncio.sleep(0.01)
        else:
            fates[asked.id] = "served"
            await asyncio.sleep(storm.dice.random() / 50)
            ledger.settle(completed(held))
