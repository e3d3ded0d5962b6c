"""Windows begin at local midnight, whatever the clocks do."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest

from neuronetz_gateway.domain.budget import EPOCH, BudgetUsage, Period, Reservation, window_end, windows_at

ZONES = [
    "UTC",
    "Europe/Berlin",
    "Europe/London",
    "America/New_York",
    "America/Sao_Paulo",
    "America/St_Johns",
    "America/Los_Angeles",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Asia/Tokyo",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Pacific/Chatham",
    "Africa/Casablanca",
]


@pytest.mark.promise("B5")
@pytest.mark.parametrize("zone", ZONES)
def test_the_days_of_a_year_meet_without_gap_at_local_midnight(zone: str) -> None:
    start = windows_at(datetime(2026, 1, 1, 12, tzinfo=UTC), zone).day
    for _ in range(366):
        end = window_end(start, Period.DAILY, zone)
        assert end is not None
        assert start.astimezone(ZoneInfo(zone)).hour == 0
        assert timedelta(hours=23) <= end - start <= timedelta(hours=25)
        assert windows_at(end - timedelta(seconds=1), zone).day == start
        assert windows_at(end, zone).day == end
        start = end


@pytest.mark.promise("B5")
@pytest.mark.parametrize("zone", ZONES)
def test_the_months_of_two_years_meet_without_gap(zone: str) -> None:
    start = windows_at(datetime(2026, 1, 15, tzinfo=UTC), zone).month
    for _ in range(24):
        end = window_end(start, Period.MONTHLY, zone)
        assert end is not None
        assert start.astimezone(ZoneInfo(zone)).day == 1
        assert windows_at(end - timedelta(seconds=1), zone).month == start
        assert windows_at(end, zone).month == end
        start = end


@pytest.mark.parametrize(("day", "hours"), [((2026, 3, 29), 23), ((2026, 10, 25), 25), ((2026, 6, 1), 24)])
def test_a_day_on_which_the_clocks_change_is_shorter_or_longer(day: tuple[int, int, int], hours: int) -> None:
    start = windows_at(datetime(*day, 12, tzinfo=UTC), "Europe/Berlin").day
    end = window_end(start, Period.DAILY, "Europe/Berlin")
    assert end is not None
    assert end - start == timedelta(hours=hours)


def test_windows_are_named_by_period() -> None:
    windows = windows_at(datetime(2026, 12, 31, 23, 30, tzinfo=UTC), "Europe/Berlin")
    assert windows.start(Period.DAILY) == datetime(2026, 12, 31, 23, tzinfo=UTC)
    assert windows.start(Period.MONTHLY) == datetime(2026, 12, 31, 23, tzinfo=UTC)
    assert windows.start(Period.TOTAL) == EPOCH
    assert window_end(EPOCH, Period.TOTAL, "Europe/Berlin") is None


@pytest.mark.parametrize(("limit", "left"), [(None, None), (100, 40), (50, 0)])
def test_what_is_left_is_never_negative(limit: int | None, left: int | None) -> None:
    usage = BudgetUsage("key", Period.TOTAL, EPOCH, None, limit, used_tokens=50, reserved_tokens=10)
    assert usage.left_tokens == left


def test_a_reservation_holds_the_prompt_and_the_granted_output() -> None:
    reservation = Reservation(uuid4(), uuid4(), uuid4(), 300, 128, EPOCH)
    assert reservation.reserved_tokens == 428
