"""What was used by day, model and key: of days that are over from their sums, of the rest from the audit log."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import Date, Select, Subquery, case, cast, func, literal, or_, select, text, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from neuronetz_gateway.db.tables import api_keys, audit_log, usage_closed, usage_days
from neuronetz_gateway.domain.audit import Outcome

_CLOSE = text("select usage_close_day_r1()")
_NEVER = date(1970, 1, 1)
_IS_CORRECTION = audit_log.c.outcome == Outcome.ADJUSTED.value
_FIGURES = ("requests", "prompt_tokens", "output_tokens", "charged_tokens")


@dataclass(frozen=True, slots=True)
class ModelUsage:
    """What one model consumed on one day, refused requests apart.

    Corrections are no requests; their tokens are in charged_tokens of the day that they correct.
    """

    day: date
    model: str
    requests: int
    prompt_tokens: int
    output_tokens: int
    charged_tokens: int


@dataclass(frozen=True, slots=True)
class KeyUsage:
    """What one key consumed; requests counts those that reached a budget."""

    prefix: str
    name: str
    requests: int
    charged_tokens: int


@dataclass(frozen=True, slots=True)
class UsageDays:
    """Days of a tenant, in its own time zone, from one moment to another, which are the midnights of such days."""

    tenant_id: UUID
    time_zone: str
    since: datetime
    until: datetime | None = None

    @property
    def first(self) -> date:
        return self._day(self.since)

    @property
    def end(self) -> date | None:
        """The day after the last."""
        return None if self.until is None else self._day(self.until)

    def _day(self, moment: datetime) -> date:
        return moment.astimezone(ZoneInfo(self.time_zone)).date()


class UsageSums:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def by_model(self, days: UsageDays, api_key_id: UUID | None = None) -> list[ModelUsage]:
        """Consumption by day, then by model, the oldest first, of one key where it is given."""
        used = _used(days, api_key_id)
        statement = (
            select(used.c.local_day, used.c.model, *(func.sum(used.c[name]).label(name) for name in _FIGURES))
            .group_by(used.c.local_day, used.c.model)
            .order_by(used.c.local_day, used.c.model)
        )
        return [
            ModelUsage(row.local_day, row.model, *(int(getattr(row, name)) for name in _FIGURES))
            for row in (await self._connection.execute(statement)).all()
        ]

    async def by_key(self, days: UsageDays, most: int) -> list[KeyUsage]:
        """Consumption by key, the most used first; corrections that name no key are left out."""
        used = _used(days, None)
        charged = func.sum(used.c.charged_tokens)
        statement = (
            select(api_keys.c.prefix, api_keys.c.name, func.sum(used.c.requests), charged)
            .join(api_keys, api_keys.c.id == used.c.api_key_id)
            .group_by(api_keys.c.prefix, api_keys.c.name)
            .order_by(charged.desc(), api_keys.c.prefix)
            .limit(most)
        )
        return [
            KeyUsage(prefix, name, int(requests), int(tokens))
            for prefix, name, requests, tokens in (await self._connection.execute(statement)).all()
        ]

    async def close_day(self) -> date | None:
        """Sums up the earliest day that is over and not summed up yet; None where there is none.

        None also where another process is at it. Wants a connection that waits long for statements.
        """
        day: date | None = await self._connection.scalar(_CLOSE)
        return day


def _used(days: UsageDays, api_key_id: UUID | None) -> Subquery:
    """Sums of closed days beside the rows of the others: one statement, so that no day is seen in both or in none."""
    return union_all(_summed(days, api_key_id), _recorded(days, api_key_id)).subquery("used")


def _closed_before(days: UsageDays) -> object:
    before = select(usage_closed.c.before).where(usage_closed.c.tenant_id == days.tenant_id).scalar_subquery()
    return func.coalesce(before, literal(_NEVER, Date))


def _summed(days: UsageDays, api_key_id: UUID | None) -> Select[tuple[object, ...]]:
    of = usage_days.c
    statement = select(of.local_day, of.model, of.api_key_id, *(of[name] for name in _FIGURES)).where(
        of.tenant_id == days.tenant_id, of.local_day >= days.first, of.recorded_on < _closed_before(days)
    )
    if days.end is not None:
        statement = statement.where(of.local_day < days.end)
    return statement if api_key_id is None else statement.where(of.api_key_id == api_key_id)


def _recorded(days: UsageDays, api_key_id: UUID | None) -> Select[tuple[object, ...]]:
    of = audit_log.c
    moment = case((_IS_CORRECTION, of.day), else_=of.admitted_at)
    # Nothing is recorded before it was admitted (give or take a day between two clocks), so that the partitions of
    # earlier days need not be looked into.
    earliest = literal(days.since.astimezone(UTC).date() - timedelta(days=1), Date)
    statement = select(
        cast(func.timezone(days.time_zone, moment), Date).label("local_day"),
        of.model,
        of.api_key_id,
        case((_IS_CORRECTION, 0), else_=1).label("requests"),
        of.prompt_tokens,
        of.output_tokens,
        of.charged_tokens,
    ).where(
        of.tenant_id == days.tenant_id,
        of.admitted_at >= days.since,
        of.recorded_on >= earliest,
        of.recorded_on >= _closed_before(days),
        of.outcome.not_in([Outcome.REFUSED.value, Outcome.NOTED.value]),
        or_(~_IS_CORRECTION, of.day >= days.since),
    )
    if days.until is not None:
        statement = statement.where(moment < days.until)
    return statement if api_key_id is None else statement.where(of.api_key_id == api_key_id)
