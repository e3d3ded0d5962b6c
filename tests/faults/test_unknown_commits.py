"""The connection ends at every place of a call: what was committed is found, what was not is not charged."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from neuronetz_gateway.domain.principal import Principal
from neuronetz_gateway.errors import UnavailableError
from neuronetz_gateway.services.budgeting import BudgetLedger
from tests.support.fault_proxy import Direction, FaultProxy
from tests.support.faulty_stores import proxy_before_postgres, through
from tests.support.ledgers import World, completed, make_ask, make_database, running_ledger, until

# More bytes than a call of one request has, or than what is answered to it; a cut after each so many of them.
PLACES = {Direction.UP: (900, 67), Direction.DOWN: (260, 19)}
TIMES: dict[str, Any] = {"statement_timeout_seconds": 0.5, "answer_within_seconds": 5}


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    database = make_database(database_url)
    yield World(database_url, database)
    await database.aclose()


@pytest.fixture
async def proxy(database_url: str) -> AsyncIterator[FaultProxy]:
    async with proxy_before_postgres(database_url) as proxy:
        yield proxy


async def _served(ledger: BudgetLedger, caller: Principal) -> None:
    """One that is reserved and charged with 10 tokens, however often it must ask."""
    while True:
        try:
            ledger.settle(completed(await ledger.reserve(caller, make_ask()), 10))
        except UnavailableError:
            await asyncio.sleep(0.02)
        else:
            return


async def test_a_reservation_whose_answer_was_cut_off_after_its_commit_is_given_back(
    world: World, proxy: FaultProxy
) -> None:
    caller = await world.caller()
    async with running_ledger(through(proxy, world.url), **TIMES) as ledger:
        await _served(ledger, caller)
        await until(lambda: world.count("audit_log"))
        proxy.half_open(Direction.DOWN)
        ask = make_ask()
        asking = asyncio.create_task(ledger.reserve(caller, ask))
        await until(lambda: world.sql("select 1 from reservations where id = $1", ask.id))
        proxy.reset()
        with pytest.raises(UnavailableError):
            await asking
        proxy.heal()
        await until(lambda: _is(ledger.pending == 0))
        assert await world.usage(caller) == {(10, 0)}
        await _served(ledger, caller)
    assert await world.usage(caller) == {(20, 0)}
    rows = await world.sql("select outcome, charged_tokens from audit_log where id = $1", ask.id)
    assert [tuple(row) for row in rows] == [("not_forwarded", 0)]


async def test_a_settlement_whose_answer_was_cut_off_after_its_commit_is_charged_once(
    world: World, proxy: FaultProxy
) -> None:
    caller = await world.caller()
    async with running_ledger(through(proxy, world.url), **TIMES) as ledger:
        await _served(ledger, caller)
        reservation = await ledger.reserve(caller, make_ask())
        await until(lambda: _is(ledger.pending == 0))
        proxy.half_open(Direction.DOWN)
        ledger.settle(completed(reservation, 70))
        await until(lambda: world.sql("select 1 from audit_log where id = $1", reservation.id))
        proxy.reset()
        assert ledger.pending, "it does not know yet"
        proxy.heal()
    assert await world.usage(caller) == {(80, 0)}
    assert await world.count("audit_log") == 2


@pytest.mark.promise("F2", "D2")
@pytest.mark.parametrize("direction", Direction)
@pytest.mark.parametrize("times", [1, pytest.param(9, marks=[pytest.mark.full, pytest.mark.timeout(600)])])
async def test_a_connection_cut_at_any_byte_loses_nothing_and_doubles_nothing(
    world: World, proxy: FaultProxy, direction: Direction, times: int
) -> None:
    """Reservations and settlements are cut while they are on their way up, or while they are answered."""
    caller, ends = await world.caller(), Counter[str]()
    size, step = PLACES[direction]
    places = range(0, size, step // times)
    async with running_ledger(through(proxy, world.url), **TIMES) as ledger:
        for place in places:
            await _served(ledger, caller)  # on healthy connections, which then are cut
            proxy.limit(place + 1, direction, resets=place % 2 == 0)
            try:
                reservation = await ledger.reserve(caller, make_ask())
            except UnavailableError:
                ends["refused"] += 1
            else:
                ends["reserved"] += 1
                ledger.settle(completed(reservation, 100))
                await asyncio.sleep(0.01)
            proxy.heal()
    served = len(places)
    assert await world.usage(caller) == {(10 * served + 100 * ends["reserved"], 0)}
    assert await world.count("reservations") == 0
    rows = Counter(row["outcome"] for row in await world.sql("select outcome from audit_log"))
    assert rows.pop("completed") == served + ends["reserved"]
    found = rows.pop("not_forwarded", 0)
    assert found <= ends["refused"]
    assert not rows
    print(f"F2: cut {direction} at {served} places: {ends['refused']} refused, {found} of them had been committed")
    assert ends["refused"]


async def _is(truth: bool) -> bool:
    return truth
