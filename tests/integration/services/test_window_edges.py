"""A budget is full again with the first second of its local day; what crosses an edge is charged before it."""

from datetime import UTC, datetime, timedelta

import pytest

from neuronetz_gateway.domain.budget import Period, Reservation, window_end, windows_at
from neuronetz_gateway.domain.principal import Principal
from neuronetz_gateway.errors import BudgetExceededError
from neuronetz_gateway.services.budgeting import BudgetLedger
from tests.support.ledgers import World, completed, make_ask, running_ledger
from tests.support.time_zones import CLOCK_CHANGES, STEADY, change_moments

SECOND = timedelta(seconds=1)
FIRST, LAST = datetime(2027, 1, 1, tzinfo=UTC), datetime(2028, 1, 1, tzinfo=UTC)
LIMIT = 150  # one request of 100 prompt tokens that wants 50 of output


def edges(zone: str, period: Period) -> set[datetime]:
    """The ends of the windows in which the clocks change, with the ends before and behind them; one in steady zones."""
    inside = list(change_moments(zone, FIRST, LAST)) or [FIRST]
    found = set()
    for moment in inside:
        for each in (moment - timedelta(days=1), moment - SECOND, moment):
            end = window_end(windows_at(each, zone).start(period), period, zone)
            assert end is not None
            found.add(end)
    return found


async def reserved(ledger: BudgetLedger, caller: Principal, at: datetime) -> Reservation | None:
    try:
        return await ledger.reserve(caller, make_ask(admitted_at=at))
    except BudgetExceededError as error:
        if error.retry_after_seconds != 1:
            raise AssertionError("it is full again a second later") from error
        return None


async def used_by_window(world: World, caller: Principal, period: Period) -> dict[datetime, tuple[int, int]]:
    rows = await world.sql(
        "select window_start, used, reserved from budget_usage where scope_id = $1 and period = $2",
        caller.tenant_id,
        period.value,
    )
    return {row["window_start"]: (row["used"], row["reserved"]) for row in rows}


@pytest.mark.promise("B5")
@pytest.mark.parametrize("period", [Period.DAILY, Period.MONTHLY])
async def test_a_budget_resets_at_local_midnight_whatever_the_clocks_do(world: World, period: Period) -> None:
    callers: list[tuple[Principal, str, datetime]] = []
    async with running_ledger(world.url) as ledger:
        for zone in (*CLOCK_CHANGES, *STEADY):
            for edge in sorted(edges(zone, period)):
                caller = await world.caller(time_zone=zone, tenant={period: LIMIT})
                crossing = await reserved(ledger, caller, edge - SECOND)
                assert crossing is not None, (zone, edge)
                assert await reserved(ledger, caller, edge - SECOND) is None, (zone, edge)
                after = await reserved(ledger, caller, edge)
                assert after is not None, (zone, edge)
                assert await reserved(ledger, caller, edge - SECOND) is None, (zone, edge)
                ledger.settle(completed(crossing, 70))  # it ended on the other side
                ledger.settle(completed(after, 30))
                callers.append((caller, zone, edge))
    assert len(callers) > 2 * len(CLOCK_CHANGES)
    for caller, zone, edge in callers:
        before, after_it = (windows_at(at, zone).start(period) for at in (edge - SECOND, edge))
        assert after_it == edge, (zone, edge)
        assert await used_by_window(world, caller, period) == {before: (70, 0), after_it: (30, 0)}, (zone, edge)
