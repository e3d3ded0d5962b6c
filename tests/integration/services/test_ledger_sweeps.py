"""Sweeps meet clocks that jumped, days gone by, usage that somebody deleted; what they lock, they lock in order."""

import asyncio
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from neuronetz_gateway.db.group_commit import NotCommittedError
from neuronetz_gateway.domain.principal import Principal
from neuronetz_gateway.repositories.ledger import Ledger
from neuronetz_gateway.services.recovery import Recovery
from tests.support import last_release
from tests.support.ledgers import World, completed, make_ask, running_ledger, until
from tests.support.other_processes import WINDOW, Others, nothing_pending, register, request_of

AGE_SECONDS = 60
AGE = timedelta(seconds=AGE_SECONDS)
AT_ONCE = 256  # what one sweep of Recovery takes


def a_recovery(ledger: Ledger) -> Recovery:
    return Recovery(ledger, after_seconds=AGE_SECONDS, happened=lambda _event, _times: None)


@pytest.mark.promise("B6", "D1")
async def test_a_refusal_of_the_day_before_yesterday_is_seen_by_the_sweep(world: World, others: Others) -> None:
    """A laptop is shut on Friday with a commit unknown and its request refused; on Monday the sweep finds both.

    It looked no further back than yesterday, so a request that had been refused was charged and had two rows.
    """
    caller = await world.caller()
    ask = make_ask(admitted_at=datetime.now(UTC) - timedelta(days=3))
    async with running_ledger(world.url) as ledger:
        await ledger.reserve(caller, ask)
    await last_release.refuse(world, caller, ask.id, 503, ask.admitted_at)
    await world.sql("update audit_log set recorded_on = $1", ask.admitted_at.date())
    await world.sql("update processes set heartbeat_at = heartbeat_at - interval '3 days'")
    await others.ledger().abandon(age=AGE, most=10)
    rows = await world.sql("select outcome, charged_tokens from audit_log where id = $1", ask.id)
    assert [(row["outcome"], row["charged_tokens"]) for row in rows] == [("refused", 0)]


@pytest.mark.promise("B6")
async def test_as_many_without_usage_as_one_sweep_takes_do_not_hide_the_others(world: World, others: Others) -> None:
    """What could not be settled filled every sweep anew, so that nobody else's reservations were ever reached."""
    bad, good = await world.caller(), await world.caller()
    process_id, ledger = await register(world), others.ledger()
    await ledger.reserve([request_of(bad, process_id) for _ in range(AT_ONCE)])
    await ledger.reserve([request_of(good, process_id) for _ in range(5)])
    await world.sql("delete from budget_usage where scope_id = $1", bad.tenant_id)
    await world.sql("update processes set swept_at = now()")
    assert await a_recovery(others.ledger()).sweep() == AT_ONCE + 5


class TellingLedger(Ledger):
    """Tells when a sweep of it is over."""

    swept: asyncio.Event

    async def abandon(self, *, age: timedelta, most: int, heard_at: datetime | None = None) -> int:
        found = await super().abandon(age=age, most=most, heard_at=heard_at)
        self.swept.set()
        return found


async def test_a_sweep_that_was_due_before_the_machine_slept_leaves_the_living_alone(
    world: World, others: Others
) -> None:
    """The heartbeat said that a sweep is due; then everything stood still for an hour, Postgres too.

    decisions/0016 guards against a jump between two heartbeats; this one came between a heartbeat and its sweep.
    """
    caller = await world.caller()
    await others.ledger().reserve([request_of(caller, await register(world))])
    ledger = TellingLedger(others.database())
    ledger.swept = asyncio.Event()
    recovery = a_recovery(ledger)
    for seconds in range(0, AGE_SECONDS + 5, 5):
        recovery.heard(WINDOW + timedelta(seconds=seconds))
    was_due = recovery.due
    await world.sql("update processes set heartbeat_at = heartbeat_at - interval '1 hour'")  # as the clock jumps
    await recovery.start()
    async with asyncio.timeout(20):
        await ledger.swept.wait()
    assert (was_due, recovery.due) == (True, False)
    await recovery.aclose()
    assert await world.usage(caller) == {(0, 150)}


@pytest.mark.promise("B2", "D1")
async def test_a_settlement_that_postgres_will_not_have_is_not_held_for_the_life_of_its_process(
    world: World, others: Others
) -> None:
    """Somebody reset a budget with plain SQL while a request ran: its reservation was lost to its own living process.

    No settlement of it could be charged, no sweep takes what the living hold: it had no row until the process ended.
    """
    caller = await world.caller()
    async with running_ledger(world.url, heartbeat_seconds=0.05) as ledger:
        held = await ledger.reserve(caller, make_ask())
        await world.sql("delete from budget_usage where tenant_id = $1", caller.tenant_id)
        ledger.settle(completed(held))
        await until(lambda: nothing_pending(ledger))
        ledger.settle(completed(await ledger.reserve(caller, make_ask())))
        await until(lambda: nothing_pending(ledger))
        await others.ledger().abandon(age=AGE, most=10)
        assert (await world.count("reservations"), await world.count("audit_log")) == (0, 2)


@pytest.mark.promise("B6")
@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param("delete from budget_usage where tenant_id = $1", id="usage deleted"),
        pytest.param("update budget_usage set used = 9223372036854775807 where tenant_id = $1", id="no charge fits"),
    ],
)
async def test_a_sweep_that_meets_one_it_cannot_charge_takes_its_locks_in_order_all_the_same(
    world: World, others: Others, spoil: str
) -> None:
    """It settled the others one by one then, in the order of their ids, keeping the usage rows of each locked.

    So it took those of the later tenant before those of the earlier one: a reservation for both waited for it, it for
    that, and a whole batch of requests was answered 503.
    """
    callers, bad = [await world.caller() for _ in range(40)], await world.caller()
    dead, living, ledger = await register(world), await register(world), others.ledger()
    await ledger.reserve([request_of(bad, dead)])
    await ledger.reserve([request_of(each, living) for each in callers])
    for _ in range(5):
        await ledger.reserve([request_of(each, dead) for each in reversed(callers)])
    await world.sql(spoil, bad.tenant_id)
    await world.sql("update processes set swept_at = now() where id = $1", dead)
    counted = await _swept_amid_reservations(others, callers, request_by=living)
    print(f"B6: a sweep over 41 tenants amid reservations: {dict(counted)}")
    assert not [each for each in counted if "40P01" in each]
    assert counted["swept"] == 200 + spoil.startswith("delete")


async def _swept_amid_reservations(others: Others, callers: list[Principal], *, request_by: UUID) -> Counter[str]:
    """Sweeps twice while three processes reserve for many tenants at once: errors by their text, what was swept."""
    counted: Counter[str] = Counter()
    patience = {"statement_timeout_seconds": 5, "lock_timeout_seconds": 5}
    over = asyncio.Event()

    async def go_on(ledger: Ledger) -> None:
        while not over.is_set():
            try:
                await ledger.reserve([request_of(each, request_by) for each in random.sample(callers, 8)])
            except NotCommittedError as error:
                counted[f"reserve: {error}"] += 1

    busy = [asyncio.create_task(go_on(others.ledger(**patience))) for _ in range(3)]
    sweeper = others.ledger(**patience)
    for _ in range(2):
        try:
            counted["swept"] += await sweeper.abandon(age=AGE, most=AT_ONCE)
        except NotCommittedError as error:
            counted[f"abandon: {error}"] += 1
    over.set()
    await asyncio.gather(*busy)
    return counted
