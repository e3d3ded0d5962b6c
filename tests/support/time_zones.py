"""Time zones whose clocks do something at the edge of a day, with the moments at which they do."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

# DST at midnight, offsets of 30 and 45 minutes, half an hour of DST, DST kept from a religious calendar, both ends of
# the date line, a whole day once left out; with the plain ones that most tenants have.
CLOCK_CHANGES = (
    "Africa/Cairo", "Asia/Beirut", "America/Santiago", "America/Havana", "America/Nuuk", "Atlantic/Azores",
    "America/St_Johns", "Australia/Lord_Howe", "Australia/Adelaide", "Pacific/Chatham", "Africa/Casablanca",
    "Asia/Jerusalem", "America/New_York", "Europe/Berlin",
)  # fmt: skip
STEADY = (
    "UTC", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Eucla", "Pacific/Apia", "Pacific/Kiritimati",
    "Pacific/Pago_Pago",
)  # fmt: skip


def change_moments(zone: str, first: datetime, last: datetime) -> Iterator[datetime]:
    """The moments in UTC, to the second, at which the clocks of a zone change (not twice within a day)."""
    local = ZoneInfo(zone)
    day, before = first, first.astimezone(local).utcoffset()
    while day < last:
        following = day + timedelta(days=1)
        after = following.astimezone(local).utcoffset()
        if after != before:
            yield _change_within(local, day, following)
        day, before = following, after


def _change_within(local: ZoneInfo, low: datetime, high: datetime) -> datetime:
    before = low.astimezone(local).utcoffset()
    while high - low > timedelta(seconds=1):
        middle = low + timedelta(seconds=(high - low) // timedelta(seconds=2))
        if middle.astimezone(local).utcoffset() == before:
            low = middle
        else:
            high = middle
    return high.astimezone(UTC)
