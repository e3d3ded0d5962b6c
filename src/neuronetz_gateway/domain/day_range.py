"""Days that are looked at together, in the time zone of whoever they are about."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class DayRange:
    """From one day to another, both of them counted."""

    first: date
    last: date

    def __iter__(self) -> Iterator[date]:
        for number in range((self.last - self.first).days + 1):
            yield self.first + number * _DAY

    def moments(self, time_zone: str) -> tuple[datetime, datetime]:
        """When the first day begins, when the last one has ended, in UTC; half-open."""
        return _midnight(self.first, time_zone), _midnight(self.last + _DAY, time_zone)


@dataclass(frozen=True, slots=True)
class AskedDays:
    """Which days are asked for; what is left out depends on which day it is where they are about."""

    number: int
    first: date | None = None
    last: date | None = None

    def on(self, today: date) -> DayRange:
        """So many days up to the last one, which is today where none is named."""
        last = self.last or today
        return DayRange(self.first or last - (self.number - 1) * _DAY, last)


def _midnight(day: date, time_zone: str) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(time_zone)).astimezone(UTC)
