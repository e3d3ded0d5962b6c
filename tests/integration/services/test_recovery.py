"""What dead processes held is charged in full, exactly once, by whoever comes first; the living are left alone."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from neuronetz_gateway.domain.identifier import uuid7
from neuronetz_gateway.domain.principal import Principal
from neuronetz_gateway.repositories.ledger import Ledger, ReservationRequest
from neuronetz_gateway.repositories.unit_of_work import unit_of_work
from neuronetz_gateway.services.recovery import Recovery
from tests.support.ledgers import World, completed, make_ask, make_database, refusal_of, running_ledger, until

AGE_SECONDS = 60
START = datetime(2026, 3, 1, tzinfo=UTC)
ROWS = "select outcome, status, charged_tokens, reserved_tokens, estimated, occurrences from audit_log"
type Opens = Callable[[], Ledger]


@pytest.fixture
async def opens(world: World) -> AsyncIterator[Opens]:
    """Ledgers on connections of their own, as other processes have them."""
    async with AsyncExitStack() as closing:

        def another() -> Ledger:
            database = make_database(world.url)
            closing.push_async_callback(database.aclose)
            return Ledger(database)

        yield another


def a_recovery(ledger: Ledger, counted: Counter[str] | None = None) -> Recovery:
    counts = Counter[str]() if counted is None else counted
    return Recovery(ledger, after_seconds=AGE_SECONDS, happened=lambda event, times: counts.update({event: times}))


async def held_by_the_dead(world: World, caller: Principal, count: int) -> list[UUID]:
    """So many reservations of a process that has ended without a settlement; only its last heartbeat is left."""
    async with running_ledger(world.url) as ledger:
        held = await asyncio.gather(*(ledger.reserve(caller, make_ask()) for _ in range(count)))
    await grown_old(world)
    return [reservation.id for reservation in held]


async def grown_old(world: World, seconds: float = AGE_SECONDS + 1) -> None:
    await world.sql("update processes set heartbeat_at = heartbeat_at - $1::interval", timedelta(seconds=seconds))


@pytest.mark.promise("B6", "D1")
@pytest.mark.parametrize("begun", [False, True], ids=["fresh", "begun by one that died too"])
async def test_what_a_dead_process_held_is_charged_in_full_once_by_three_that_race(
    world: World, opens: Opens, *, begun: bool
) -> None:
    caller = await world.caller()
    held = await held_by_the_dead(world, caller, 600)  # more than one sweep takes at once
    if begun:
        await world.sql("update processes set swept_at = now()")
    counted: Counter[str] = Counter()
    found = await asyncio.gather(*(a_recovery(opens(), counted).sweep() for _ in range(3)))
    assert sum(found) == counted["abandoned"] == len(held)
    assert await world.usage(caller) == {(len(held) * 150, 0)}
    assert {row["id"] for row in await world.sql("select id from audit_log")} == set(held)
    assert {tuple(row) for row in await world.sql(ROWS)} == {("abandoned", 0, 150, 150, True, 1)}
    assert await world.count("audit_log") == len(held)
    assert await a_recovery(opens()).sweep() == 0
    print(f"B6: {len(held)} reservations of a dead process, swept by 3 at once: {found}")


async def test_a_process_is_not_dead_before_its_time(world: World, opens: Opens) -> None:
    caller = await world.caller()
    async with running_ledger(world.url) as ledger:
        await ledger.reserve(caller, make_ask())
    await grown_old(world, AGE_SECONDS - 10)
    assert await a_recovery(opens()).sweep() == 0
    assert await world.usage(caller) == {(0, 150)}
    await grown_old(world, 11)
    assert await a_recovery(opens()).sweep() == 1


async def test_what_is_committed_after_its_process_took_its_leave_is_found_too(world: World, opens: Opens) -> None:
    caller = await world.caller()
    async with running_ledger(world.url) as ledger:
        await ledger.reserve(caller, make_ask())
        await ledger.reserve(caller, make_ask(admitted_at=datetime.now(UTC) - timedelta(seconds=AGE_SECONDS + 1)))
    await world.sql("delete from processes")
    assert await a_recovery(opens()).sweep() == 1
    assert await world.usage(caller) == {(150, 150)}


async def test_a_request_that_was_refused_while_its_commit_was_unknown_is_not_charged(
    world: World, opens: Opens
) -> None:
    """Its process died between the refusal's audit row and the release of the reservation.

    The sweep charged it, yet could not write its row, since the request had one: more was used than any row said.
    """
    caller = await world.caller()
    ask = make_ask()
    async with running_ledger(world.url) as ledger:
        await ledger.reserve(caller, ask)
        ledger.refuse(refusal_of(caller, ask))
    await grown_old(world)
    assert await a_recovery(opens()).sweep() == 1
    assert await world.usage(caller) == {(0, 0)}
    assert [row["outcome"] for row in await world.sql(ROWS)] == ["refused"]


async def test_usage_that_somebody_deleted_keeps_nobody_from_being_charged(world: World, opens: Opens) -> None:
    """A reset of budgets by SQL once left reservations that no sweep could charge, before which all others starved."""
    good, reset = await world.caller(), await world.caller()
    await held_by_the_dead(world, reset, 300)
    await held_by_the_dead(world, good, 5)
    await world.sql("delete from budget_usage where scope_id = $1", reset.tenant_id)
    assert await a_recovery(opens()).sweep() == 305
    assert await world.usage(good) == {(750, 0)}
    assert await world.usage(reset) == {(300 * 150, 0)}
    assert await world.count("reservations") == 0


def test_a_sweep_comes_after_unbroken_good_heartbeats_alone(world: World) -> None:
    def due(*heard: float | None) -> bool:
        recovery = a_recovery(Ledger(world.database))
        for seconds in heard:
            recovery.heard(None if seconds is None else START + timedelta(seconds=seconds))
        return recovery.due

    every_five = [5.0 * number for number in range(12)]
    assert not due(*every_five)
    assert due(*every_five, 60)
    assert not due(*every_five, None, 60)  # one failed
    assert not due(*every_five[:6], None, *every_five[6:], 60, 80)
    assert due(*every_five[:6], None, *every_five[6:], 60, 90)
    assert not due(0, 60)  # nobody knows what was in between
    assert due(0, 30, 60)
    assert not due(*every_five, 3655)  # the clock of Postgres jumped, or its machine slept: everybody's is old now
    assert not due(*every_five, -3600, -3590)
    assert due(*every_five, 3655, 3685, 3715)


async def test_a_heartbeat_after_the_wait_starts_a_sweep(world: World, opens: Opens) -> None:
    caller = await world.caller()
    await held_by_the_dead(world, caller, 3)
    counted: Counter[str] = Counter()
    recovery = a_recovery(opens(), counted)
    await recovery.start()
    for seconds in (-61, -40, -20, 0):
        recovery.heard(datetime.now(UTC) + timedelta(seconds=seconds))
    await until(lambda: world.sql("select 1 from audit_log having count(*) = 3"))
    await recovery.aclose()
    assert counted == {"abandoned": 3}


class AwayLedger(Ledger):
    """Cannot reach Postgres, then has a defect, then works."""

    failures = 2

    async def abandon(self, *, age: timedelta, most: int, heard_at: datetime | None = None) -> int:
        self.failures -= 1
        if self.failures == 1:
            return await Ledger(make_database("postgresql+asyncpg://gateway@/gateway?host=/nowhere")).abandon(
                age=age, most=most
            )
        if self.failures == 0:
            raise RuntimeError("nobody thought of this")
        return await super().abandon(age=age, most=most, heard_at=heard_at)


async def test_no_failure_ends_the_recovery(world: World) -> None:
    caller = await world.caller()
    await held_by_the_dead(world, caller, 3)
    recovery = a_recovery(AwayLedger(world.database))
    await recovery.start()
    for seconds in (-76, -55, -35, -15, -8, 0):
        recovery.heard(datetime.now(UTC) + timedelta(seconds=seconds))
        await until(lambda: _is(not recovery.due))
    await until(lambda: world.sql("select 1 from audit_log having count(*) = 3"))
    await recovery.aclose()


async def test_a_recovery_that_is_closed_in_the_middle_of_a_sweep_leaves_all_or_nothing(
    world: World, opens: Opens
) -> None:
    caller = await world.caller()
    held = await held_by_the_dead(world, caller, 20)
    recovery = a_recovery(opens())
    await recovery.start()
    async with world.connection() as other, other.transaction():
        await other.execute("select 1 from budget_usage for update")
        for seconds in (-61, -40, -20, 0):
            recovery.heard(datetime.now(UTC) + timedelta(seconds=seconds))
        waiting = "select 1 from pg_stat_activity where application_name like '%upkeep%' and wait_event_type = 'Lock'"
        await until(lambda: world.sql(waiting))
        async with asyncio.timeout(5):
            await recovery.aclose()
    await until(lambda: _is_gone(world))
    assert await a_recovery(opens()).sweep() in {0, len(held)}
    assert await world.usage(caller) == {(len(held) * 150, 0)}
    assert await world.count("audit_log") == len(held)


@pytest.mark.promise("B3", "B6", "D1")
async def test_of_a_settlement_and_a_sweep_that_race_exactly_one_counts(world: World, opens: Opens) -> None:
    caller = await world.caller()
    owner, sweeper, other_sweeper = opens(), opens(), opens()
    ended: Counter[str] = Counter()
    rounds, each = 40, 12
    for number in range(rounds):
        process_id = uuid7()
        async with unit_of_work(world.database) as uow:
            await uow.processes.heartbeat(process_id, host="here", pid=1)
        requests = [_request(process_id, caller) for _ in range(each)]
        await owner.reserve(requests)
        await grown_old(world)
        await asyncio.gather(
            _settle_in_turn(owner, requests, number % 4 + 1), _sweep(sweeper, number % 5 + 1), _sweep(other_sweeper, 4)
        )
        ids = [request.id for request in requests]
        rows = await world.sql("select outcome, charged_tokens from audit_log where id = any($1)", ids)
        assert len(rows) == each
        ended.update(row["outcome"] for row in rows)
        assert {(row["outcome"], row["charged_tokens"]) for row in rows} <= {("completed", 70), ("abandoned", 150)}
    assert ended.total() == rounds * each
    assert all(ended[outcome] > each for outcome in ("completed", "abandoned")), f"that was no race: {ended}"
    assert await world.usage(caller) == {(ended["completed"] * 70 + ended["abandoned"] * 150, 0)}
    assert await world.count("reservations") == 0
    print(f"B6: {ended.total()} settlements raced two sweeps: {dict(ended)}, one row and one charge each")


async def _settle_in_turn(ledger: Ledger, requests: Sequence[ReservationRequest], at_once: int) -> None:
    for start in range(0, len(requests), at_once):
        await ledger.settle([completed(each.id) for each in requests[start : start + at_once]])


async def _sweep(ledger: Ledger, most: int) -> None:
    while await ledger.abandon(age=timedelta(seconds=AGE_SECONDS), most=most) == most:
        pass


def _request(process_id: UUID, caller: Principal) -> ReservationRequest:
    now = datetime.now(UTC)
    return ReservationRequest(
        uuid7(), process_id, caller.tenant_id, caller.tenant_version, caller.api_key_id, caller.key_version, START,
        START, 100, 50, 0, "llama3:latest", "/api/chat", "request-1", "192.0.2.1", "test/1", now,
    )  # fmt: skip


async def _is(holds: bool) -> bool:
    return holds


async def _is_gone(world: World) -> bool:
    return not await world.sql("select 1 from pg_stat_activity where application_name like '%upkeep%'")
