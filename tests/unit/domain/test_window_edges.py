"""A window begins with the first second of its local day, in every zone there is, whatever its clocks do."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest

from neuronetz_gateway.domain.budget import Period, window_end, windows_at
from tests.support.time_zones import CLOCK_CHANGES, STEADY, change_moments

FIRST, LAST = datetime(2026, 1, 1, tzinfo=UTC), datetime(2031, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
QUARTER_SECONDS = 900


def local_date(moment: datetime, zone: str) -> date:
    return moment.astimezone(ZoneInfo(zone)).date()


def check_day(moment: datetime, zone: str) -> datetime:
    """The day of a moment begins with its date, ends with it, to the second; where it ends."""
    start = windows_at(moment, zone).day
    today = local_date(moment, zone)
    assert local_date(start, zone) == today, (zone, moment)
    assert local_date(start - SECOND, zone) < today, (zone, moment)
    end = window_end(start, Period.DAILY, zone)
    assert end is not None
    assert local_date(end - SECOND, zone) == today, (zone, moment)
    assert local_date(end, zone) > today, (zone, moment)
    for inside in (start, start + SECOND, end - SECOND):
        assert windows_at(inside, zone).day == start, (zone, inside)
    assert windows_at(end, zone).day == end, (zone, end)
    assert windows_at(end + SECOND, zone).day == end, (zone, end)
    return end


def check_month(moment: datetime, zone: str) -> None:
    start = windows_at(moment, zone).month
    month = local_date(moment, zone).replace(day=1)
    assert local_date(start, zone) == month, (zone, moment)
    assert local_date(start - SECOND, zone) < month, (zone, moment)
    end = window_end(start, Period.MONTHLY, zone)
    assert end is not None
    assert local_date(end, zone) == (month + timedelta(days=31)).replace(day=1), (zone, moment)
    assert local_date(end - SECOND, zone) < local_date(end, zone), (zone, moment)
    assert windows_at(end - SECOND, zone).month == start, (zone, end)
    assert windows_at(end, zone).month == end, (zone, end)


@pytest.mark.promise("B5")
@pytest.mark.parametrize("zone", [*CLOCK_CHANGES, *STEADY])
def test_every_day_of_five_years_begins_at_local_midnight_to_the_second(zone: str) -> None:
    moment = FIRST
    while moment < LAST:
        moment = check_day(moment, zone)


@pytest.mark.promise("B5")
@pytest.mark.parametrize("zone", [*CLOCK_CHANGES, *STEADY])
def test_every_month_of_five_years_begins_with_its_first_day(zone: str) -> None:
    for year in range(2026, 2031):
        for month in range(1, 13):
            check_month(datetime(year, month, 15, tzinfo=UTC), zone)
            check_month(datetime(year, month, 1, tzinfo=UTC), zone)


@pytest.mark.promise("B5")
def test_the_clocks_of_these_zones_do_change_and_some_at_midnight() -> None:
    """Else the tests above would show nothing."""
    changes = {zone: list(change_moments(zone, FIRST, LAST)) for zone in CLOCK_CHANGES}
    assert all(changes.values())
    without_midnight = [zone for zone in CLOCK_CHANGES if any(_skips_midnight(each, zone) for each in changes[zone])]
    assert set(without_midnight) >= {"Africa/Cairo", "Asia/Beirut", "America/Santiago", "America/Havana"}
    assert not any(list(change_moments(zone, FIRST, LAST)) for zone in STEADY)


def _skips_midnight(change: datetime, zone: str) -> bool:
    after = change.astimezone(ZoneInfo(zone))
    return after.hour == 1 and local_date(change - SECOND, zone) < after.date()


@pytest.mark.promise("B5")
@pytest.mark.parametrize("step", [3, pytest.param(1, marks=pytest.mark.full)])
def test_windows_are_right_around_every_change_of_clocks_of_every_so_manyth_zone_there_is(step: int) -> None:
    """windows_at looks at quarters of an hour, on which all zones in use change (domain/budget.py)."""
    changes = 0
    for zone in sorted(available_timezones())[::step]:
        for change in change_moments(zone, FIRST, LAST):
            changes += 1
            assert change.timestamp() % QUARTER_SECONDS == 0, (zone, change)
            for moment in (change - timedelta(days=1), change - SECOND, change, change + timedelta(days=1)):
                check_day(moment, zone)
            check_month(change, zone)
        offset = FIRST.astimezone(ZoneInfo(zone)).utcoffset()
        assert offset is not None
        assert offset.total_seconds() % QUARTER_SECONDS == 0, zone
    assert changes > 1000 / step


@pytest.mark.promise("B5")
def test_a_day_that_a_zone_leaves_out_belongs_to_no_window() -> None:
    """Samoa went from the 29th to the 31st of December 2011; a zone may do so again."""
    zone, last = "Pacific/Apia", datetime(2011, 12, 30, 9, 59, 59, tzinfo=UTC)
    assert local_date(last, zone) == date(2011, 12, 29)
    end = check_day(last, zone)
    assert local_date(end, zone) == date(2011, 12, 31)
    assert end == last + SECOND
    check_month(last, zone)
