"""What the budget ledger promises while Postgres is well."""

import asyncio
import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from neuronetz_gateway.domain.audit import Outcome, RefusalEvent, Settlement
from neuronetz_gateway.domain.budget import Period, Reservation
from neuronetz_gateway.domain.identifier import uuid7
from neuronetz_gateway.domain.principal import Principal
from neuronetz_gateway.domain.usage import NOTHING, Charge
from neuronetz_gateway.errors import BudgetExceededError, StalePrincipalError, UnavailableError
from neuronetz_gateway.services.budgeting import BudgetLedger
from tests.support.ledgers import World, completed, make_ask, running_ledger


async def _reserve_or_none(ledger: BudgetLedger, principal: Principal) -> Reservation | None:
    try:
        return await ledger.reserve(principal, make_ask())
    except BudgetExceededError:
        return None


async def _meet(caller: Principal, *ledgers: BudgetLedger) -> None:
    """Connections open, usage rows there: from here on nothing but the ledger itself keeps two batches apart."""
    for ledger in ledgers:
        await ledger.reserve(caller, make_ask(prompt_bound_tokens=0, output_wanted_tokens=0))


@pytest.mark.promise("B1")
async def test_of_500_at_once_with_room_for_one_exactly_one_is_admitted(world: World) -> None:
    async with running_ledger(world.url) as one, running_ledger(world.url) as two:
        for _ in range(5):
            caller = await world.caller(tenant={Period.DAILY: 150}, key={Period.TOTAL: 1000})
            await _meet(caller, one, two)
            asking = (_reserve_or_none(ledger, caller) for ledger in (one, two) for _ in range(250))
            admitted = [answer for answer in await asyncio.gather(*asking) if answer is not None]
            assert [reservation.reserved_tokens for reservation in admitted] == [150]
            assert await world.usage(caller) == {(0, 150)}


@pytest.mark.promise("B1")
async def test_head_room_is_never_overshot_however_it_is_sliced(world: World) -> None:
    async with running_ledger(world.url) as one, running_ledger(world.url) as two:
        for _ in range(5):
            caller = await world.caller(tenant={Period.MONTHLY: 20_000}, key={Period.DAILY: 10_010})
            await _meet(caller, one, two)
            asking = (_reserve_or_none(ledger, caller) for ledger in (one, two) for _ in range(200))
            answers = await asyncio.gather(*asking)
            assert sum(reservation.reserved_tokens for reservation in answers if reservation) == 10_010
            assert await world.usage(caller) == {(0, 10_010)}


@pytest.mark.promise("B2", "D1")
async def test_after_mixed_outcomes_used_is_their_sum_and_nothing_is_reserved(world: World) -> None:
    dice = random.Random(20261123)
    callers = [await world.caller(tenant={Period.DAILY: 10**9}, key={Period.TOTAL: 10**9}) for _ in range(3)]
    charged: Counter[object] = Counter()
    ends: Counter[Outcome] = Counter()

    async def request(ledger: BudgetLedger) -> None:
        caller = dice.choice(callers)
        reservation = await ledger.reserve(caller, make_ask(prompt_bound_tokens=dice.randrange(500)))
        await asyncio.sleep(0)
        outcome = dice.choice([o for o in Outcome if o not in (Outcome.REFUSED, Outcome.ABANDONED)])
        free = outcome in (Outcome.NOT_FORWARDED, Outcome.UPSTREAM_REFUSED)
        charge = NOTHING if free else Charge(dice.randrange(600), dice.randrange(90), estimated=dice.random() < 0.5)
        ledger.settle(Settlement(reservation.id, outcome, 200, charge))
        charged[caller.tenant_id] += charge.total_tokens
        ends[outcome] += 1

    async def one_after_another(ledger: BudgetLedger) -> None:
        for _ in range(20):
            await request(ledger)

    async with running_ledger(world.url) as one, running_ledger(world.url) as two:
        await asyncio.gather(*(one_after_another(dice.choice([one, two])) for _ in range(100)))
        assert one.pending + two.pending <= 2000
    for caller in callers:
        assert await world.usage(caller) == {(charged[caller.tenant_id], 0)}
    assert await world.count("reservations") == 0
    rows = await world.sql("select outcome, count(*) from audit_log group by 1")
    assert {row["outcome"]: row["count"] for row in rows} == {outcome.value: count for outcome, count in ends.items()}


@pytest.mark.promise("B3")
async def test_settlements_replayed_five_times_and_out_of_order_are_charged_once(world: World) -> None:
    caller, dice = await world.caller(), random.Random(3)
    ends = [outcome for outcome in Outcome if outcome not in (Outcome.REFUSED, Outcome.ABANDONED)]
    async with running_ledger(world.url) as one, running_ledger(world.url) as two:
        held = await asyncio.gather(*(one.reserve(caller, make_ask()) for _ in range(40 * len(ends))))
        settlements = []
        for number, reservation in enumerate(held):
            outcome = ends[number % len(ends)]
            free = outcome in (Outcome.NOT_FORWARDED, Outcome.UPSTREAM_REFUSED)
            charge = NOTHING if free else Charge(dice.randrange(300), dice.randrange(90), estimated=dice.random() < 0.5)
            settlements.append(Settlement(reservation.id, outcome, 200, charge))
        replays = settlements * 5
        dice.shuffle(replays)
        for number, settlement in enumerate(replays):
            (one, two)[number % 2].settle(settlement)
    assert await world.usage(caller) == {(sum(each.charge.total_tokens for each in settlements), 0)}
    rows = await world.sql("select id, outcome, charged_tokens, estimated from audit_log")
    assert len(rows) == len(settlements)
    written = {row["id"]: (row["outcome"], row["charged_tokens"], row["estimated"]) for row in rows}
    assert written == {
        each.reservation_id: (each.outcome.value, each.charge.total_tokens, each.charge.estimated)
        for each in settlements
    }
    assert await world.count("reservations") == 0
    assert await _deadlocks(world) == 0


@pytest.mark.promise("B3")
async def test_of_different_settlements_of_one_request_the_first_counts(world: World) -> None:
    caller = await world.caller()
    async with running_ledger(world.url) as ledger:
        reservation = await ledger.reserve(caller, make_ask())
        for tokens, outcome in ((70, Outcome.COMPLETED), (9, Outcome.CALLER_LEFT), (0, Outcome.NOT_FORWARDED)):
            ledger.settle(completed(reservation, tokens, outcome))
    assert await world.usage(caller) == {(70, 0)}
    assert [row["outcome"] for row in await world.sql("select outcome from audit_log")] == ["completed"]


@pytest.mark.promise("B3")
async def test_a_settlement_before_its_reservation_neither_charges_nor_frees(world: World) -> None:
    caller = await world.caller()
    async with running_ledger(world.url) as ledger:
        ask = make_ask()
        ledger.settle(completed(ask.id, 999))
        await ledger._settling.drain()  # else it could arrive second
        reservation = await ledger.reserve(caller, ask)
        assert reservation.id == ask.id
        assert await world.usage(caller) == {(0, 150)}
        ledger.settle(completed(reservation, 70))
    assert await world.usage(caller) == {(70, 0)}
    assert await world.count("audit_log") == 1


async def _deadlocks(world: World) -> int:
    """Those that Postgres had to undo: invisible from outside, since settlements are repeated."""
    return int((await world.sql("select deadlocks from pg_stat_database where datname = current_database()"))[0][0])


async def test_two_processes_with_shuffled_settles_do_not_deadlock(world: World) -> None:
    callers = [await world.caller(tenant={Period.DAILY: 10**9}) for _ in range(5)]
    dice = random.Random(5)

    async def work(ledger: BudgetLedger) -> None:
        for _ in range(10):
            held = await asyncio.gather(*(ledger.reserve(dice.choice(callers), make_ask()) for _ in range(20)))
            dice.shuffle(held)
            for reservation in held:
                ledger.settle(completed(reservation))

    async with running_ledger(world.url) as one, running_ledger(world.url) as two:
        await asyncio.gather(*(work(ledger) for ledger in (one, two) for _ in range(4)))
    assert await _deadlocks(world) == 0
    assert await world.count("reservations") == 0
    assert await world.count("audit_log") == 1600


async def test_a_refusal_says_what_is_left_what_was_asked_and_when_it_resets(world: World) -> None:
    caller = await world.caller(tenant={Period.DAILY: 50_000})
    admitted_at = datetime(2026, 11, 22, 18, 30, tzinfo=UTC)
    async with running_ledger(world.url) as ledger:
        held = await ledger.reserve(caller, make_ask(prompt_bound_tokens=49_830, admitted_at=admitted_at))
        ask = make_ask(prompt_bound_tokens=1204, output_wanted_tokens=100, admitted_at=admitted_at)
        with pytest.raises(BudgetExceededError) as caught:
            await ledger.reserve(caller, ask)
        ledger.settle(completed(held))
    assert caught.value.message == (
        "The daily token budget of this tenant has 120 of 50,000 tokens left; this request needs at least "
        "1,205 (prompt up to 1,204 + 1 of output) and could take 1,304. It resets at 2026-11-23T00:00:00+00:00."
    )
    assert caught.value.limit == "tenant.daily"
    assert caught.value.retry_after_seconds == timedelta(hours=5, minutes=30).total_seconds()


@pytest.mark.parametrize(("period", "limit"), [(Period.TOTAL, 149), (Period.DAILY, 99)])
async def test_where_waiting_would_not_help_no_time_is_named(world: World, period: Period, limit: int) -> None:
    caller = await world.caller(key={period: limit})
    async with running_ledger(world.url) as ledger:
        with pytest.raises(BudgetExceededError, match="of this API key has") as caught:
            await ledger.reserve(caller, make_ask(prompt_bound_tokens=149))
    assert caught.value.limit == f"key.{period}"
    assert caught.value.retry_after_seconds is None
    assert caught.value.message.endswith("Not even the whole budget could hold it: shorten the prompt.")


async def test_windows_are_those_of_the_tenants_zone(world: World) -> None:
    caller = await world.caller(time_zone="Pacific/Auckland", tenant={Period.DAILY: 150})
    evening = datetime(2026, 11, 23, 10, 59, tzinfo=UTC)  # a minute before midnight there
    async with running_ledger(world.url) as ledger:
        await ledger.reserve(caller, make_ask(admitted_at=evening))
        with pytest.raises(BudgetExceededError) as caught:
            await ledger.reserve(caller, make_ask(admitted_at=evening))
        await ledger.reserve(caller, make_ask(admitted_at=evening + timedelta(minutes=1)))
    assert caught.value.retry_after_seconds == 60


@pytest.mark.promise("A4")
async def test_a_changed_tenant_makes_the_principal_stale_at_the_next_reservation(world: World) -> None:
    caller = await world.caller()
    async with running_ledger(world.url) as ledger:
        await ledger.reserve(caller, make_ask())
        await world.sql("update tenants set rpm = 1 where id = $1", caller.tenant_id)
        with pytest.raises(StalePrincipalError):
            await ledger.reserve(caller, make_ask())
        await ledger.reserve(await world.principal(caller.key_prefix), make_ask())


async def test_a_bad_row_fails_alone(world: World) -> None:
    caller, other = await world.caller(), await world.caller()
    async with running_ledger(world.url) as ledger:
        taken = await ledger.reserve(caller, make_ask())
        asks = [
            ledger.reserve(caller, make_ask()),
            ledger.reserve(caller, make_ask(user_agent="evil\x00agent")),
            ledger.reserve(other, make_ask(id=taken.id)),
            ledger.reserve(caller, make_ask(prompt_bound_tokens=2**70)),
            ledger.reserve(caller, make_ask()),
        ]
        answers = await asyncio.gather(*asks, return_exceptions=True)
        kinds = [type(answer) for answer in answers]
        assert kinds == [Reservation, UnavailableError, UnavailableError, UnavailableError, Reservation]
        assert await world.usage(caller) == {(0, 450)}
        good = [completed(answer) for answer in answers if isinstance(answer, Reservation)]
        bad = Settlement(taken.id, Outcome.COMPLETED, 2**20, NOTHING)
        for settlement in (good[0], bad, good[1]):
            ledger.settle(settlement)
    assert await world.usage(caller) == {(140, 150)}


async def test_refusals_are_written_down_in_batches(world: World) -> None:
    caller = await world.caller()
    async with running_ledger(world.url) as ledger:
        for _ in range(300):
            ledger.refuse(
                RefusalEvent(
                    id=uuid7(), tenant_id=caller.tenant_id, api_key_id=caller.api_key_id, endpoint="/api/chat",
                    model="m", request_id="r", address="192.0.2.1", user_agent="u", status=429, reason="key.rpm",
                    refused_at=datetime.now(UTC),
                )
            )  # fmt: skip
    rows = await world.sql("select outcome, reason, count(*) from audit_log group by 1, 2")
    assert [tuple(row) for row in rows] == [("refused", "key.rpm", 300)]
