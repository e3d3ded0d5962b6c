"""How many tokens a scope may use in a window of time."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

EPOCH = datetime.fromtimestamp(0, UTC)
_ZONE_GRAIN_SECONDS = 900  # every zone in use today changes its date on a quarter of an hour of UTC


class Period(StrEnum):
    DAILY = "daily"
    MONTHLY = "monthly"
    TOTAL = "total"


@dataclass(frozen=True, slots=True)
class Windows:
    """The starts of the budget windows that a moment belongs to, in UTC; half-open, the total one starts at 1970."""

    day: datetime
    month: datetime

    def start(self, period: Period) -> datetime:
        return {Period.DAILY: self.day, Period.MONTHLY: self.month, Period.TOTAL: EPOCH}[period]


def windows_at(moment: datetime, time_zone: str) -> Windows:
    """The windows of a tenant in an IANA time zone at an aware moment."""
    return _windows(int(moment.timestamp()) // _ZONE_GRAIN_SECONDS, time_zone)


@lru_cache(maxsize=4096)
def _windows(quarter: int, time_zone: str) -> Windows:
    zone = ZoneInfo(time_zone)
    local = datetime.fromtimestamp(quarter * _ZONE_GRAIN_SECONDS, zone)
    day = datetime(local.year, local.month, local.day, tzinfo=zone)
    return Windows(day=day.astimezone(UTC), month=day.replace(day=1).astimezone(UTC))


def window_end(start: datetime, period: Period, time_zone: str) -> datetime | None:
    """When a window that began at `start` ends, in UTC; None for the total budget, which never does."""
    if period is Period.TOTAL:
        return None
    local = start.astimezone(ZoneInfo(time_zone))
    if period is Period.DAILY:
        following = datetime.fromordinal(local.toordinal() + 1)
    else:
        following = datetime(local.year + local.month // 12, local.month % 12 + 1, 1)  # noqa: DTZ001 - zoned below
    return following.replace(tzinfo=ZoneInfo(time_zone)).astimezone(UTC)


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit in tokens on one scope (the id of a tenant or a key) a period."""

    scope_id: UUID
    period: Period
    limit_tokens: int


@dataclass(frozen=True, slots=True)
class BudgetUsage:
    """What a scope has used and holds reserved in the current window of a period; limit_tokens None is unlimited."""

    scope: str
    period: Period
    window_start: datetime
    window_end: datetime | None
    limit_tokens: int | None
    used_tokens: int
    reserved_tokens: int

    @property
    def left_tokens(self) -> int | None:
        if self.limit_tokens is None:
            return None
        return max(0, self.limit_tokens - self.used_tokens - self.reserved_tokens)


class ReservationAsk(NamedTuple):
    """What a request wants to hold before it may go up, which is also its audit intent (DESIGN §5).

    estimated_tokens is what its admission holds of the tokens a minute, from which they can be rebuilt.
    """

    id: UUID
    prompt_bound_tokens: int
    output_wanted_tokens: int
    model: str
    endpoint: str
    request_id: str
    address: str
    user_agent: str
    admitted_at: datetime
    estimated_tokens: int = 0


class Reservation(NamedTuple):
    """Tokens held, committed, for one request; granted_output_tokens is the cap to write into the upstream request."""

    id: UUID
    tenant_id: UUID
    api_key_id: UUID
    prompt_bound_tokens: int
    granted_output_tokens: int
    admitted_at: datetime

    @property
    def reserved_tokens(self) -> int:
        return self.prompt_bound_tokens + self.granted_output_tokens
