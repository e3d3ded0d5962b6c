"""Looking at an account is guarded: it consumes nothing, so nothing else would hold it back."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from neuronetz_gateway.counters.errors import CountersUnavailableError
from neuronetz_gateway.db.database import Database
from neuronetz_gateway.domain.principal import Principal
from neuronetz_gateway.errors import GatewayError, OverloadedError, RateLimitedError, UnavailableError
from neuronetz_gateway.services.account import Account, AccountReader
from tests.support.counters import Server, WarmingCounters, batched, no_ledger
from tests.support.ledgers import World, make_database
from tests.support.stores import Stores

CLOSED_PORT = "postgresql+asyncpg://gateway@127.0.0.1:1/gateway"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("a"))
    yield server
    server.stop()


@asynccontextmanager
async def reading(server: Server, database: Database, **changes: Any) -> AsyncIterator[AccountReader]:
    values: dict[str, Any] = {"jitter": lambda: 0.25, "within_seconds": 10, **changes}
    async with batched(server.url, timeout_seconds=0.2) as connection:
        yield AccountReader(database, WarmingCounters(connection), warm=no_ledger, **values)


@asynccontextmanager
async def held_up(world: World) -> AsyncIterator[None]:
    """Postgres answers no look meanwhile."""
    async with Stores(world.url, "").transaction() as connection:
        await connection.execute("lock table api_keys in access exclusive mode")
        yield


async def until_waiting(world: World, count: int) -> None:
    async with asyncio.timeout(10):
        while (await world.sql("select count(*) from pg_locks where not granted"))[0][0] < count:
            await asyncio.sleep(0.01)


@pytest.mark.promise("L6")
async def test_a_key_looks_once_at_a_time(server: Server, world: World, database: Database) -> None:
    caller, other = await world.caller(), await world.caller()
    async with reading(server, database) as accounts:
        async with held_up(world):
            first = asyncio.create_task(accounts.of(caller))
            beside = asyncio.create_task(accounts.of(other))
            await until_waiting(world, 2)
            with pytest.raises(RateLimitedError, match="one look at a time") as caught:
                await accounts.of(caller)
        assert (caught.value.limit, caught.value.retry_after_seconds) == ("key.account", 0.75)
        assert [(await look).principal for look in (first, beside)] == [caller, other]
        assert (await accounts.of(caller)).principal == caller


async def test_so_many_keys_look_at_once_and_no_more(server: Server, world: World, database: Database) -> None:
    callers = [await world.caller() for _ in range(5)]
    async with reading(server, database, at_once=2, most=4) as accounts:
        async with held_up(world):
            looks = [asyncio.create_task(accounts.of(caller)) for caller in callers[:4]]
            await until_waiting(world, 2)
            with pytest.raises(OverloadedError):
                await accounts.of(callers[4])
            assert (await world.sql("select count(*) from pg_locks where not granted"))[0][0] == 2
        assert [(await look).principal for look in looks] == callers[:4]
        assert (await accounts.of(callers[4])).principal == callers[4]


@pytest.mark.promise("D2")
async def test_a_postgres_that_does_not_answer_is_told_in_time(
    server: Server, world: World, database: Database
) -> None:
    caller = await world.caller()
    async with reading(server, database, within_seconds=0.3) as accounts:
        async with held_up(world):
            with pytest.raises(UnavailableError, match="in time"):
                await accounts.of(caller)
        assert (await accounts.of(caller)).principal == caller


@pytest.mark.promise("S1")
async def test_who_leaves_while_looking_leaves_nothing(server: Server, world: World, database: Database) -> None:
    caller = await world.caller()
    async with reading(server, database, at_once=1) as accounts:
        for steps in range(30):
            look = asyncio.create_task(accounts.of(caller))
            for _ in range(steps):
                await asyncio.sleep(0.000_5)
            look.cancel()
            await asyncio.wait([look])
        assert (await accounts.of(caller)).principal == caller


@pytest.mark.promise("D2")
async def test_without_postgres_nothing_is_shown(server: Server, world: World) -> None:
    caller = await world.caller()
    away = make_database(CLOSED_PORT)
    async with reading(server, away) as accounts:
        assert await _refusal(accounts, caller) is UnavailableError
    await away.aclose()


@pytest.mark.promise("F1")
async def test_without_redis_nothing_is_shown(server: Server, world: World, database: Database) -> None:
    """It could show the budgets, but half an account would be mistaken for a whole one."""
    caller = await world.caller()
    async with reading(server, database) as accounts:
        with server.frozen():
            assert await _refusal(accounts, caller) is CountersUnavailableError
        async with asyncio.timeout(2):
            while True:
                with suppress(CountersUnavailableError):
                    assert isinstance(await accounts.of(caller), Account)
                    break
                await asyncio.sleep(0.01)


async def _refusal(accounts: AccountReader, caller: Principal) -> type[GatewayError]:
    with pytest.raises(UnavailableError) as caught:
        await accounts.of(caller)
    return type(caught.value)
