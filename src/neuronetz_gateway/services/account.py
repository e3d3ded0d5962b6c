"""What one key may use, what it has left, what it has used today."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID
from zoneinfo import ZoneInfo

from neuronetz_gateway.counters.admissions import Cold, RateCounters, Seen
from neuronetz_gateway.db.database import Database
from neuronetz_gateway.domain.budget import BudgetUsage, windows_at
from neuronetz_gateway.domain.principal import Principal
from neuronetz_gateway.domain.standing import ScopeStanding
from neuronetz_gateway.domain.tenant import TenantStatus
from neuronetz_gateway.errors import (
    OverloadedError,
    RateLimitedError,
    StalePrincipalError,
    UnauthenticatedError,
    UnavailableError,
)
from neuronetz_gateway.repositories.api_keys import KeyRecord
from neuronetz_gateway.repositories.unit_of_work import UnitOfWork, unit_of_work
from neuronetz_gateway.repositories.usage_sums import ModelUsage, UsageDays


@dataclass(frozen=True, slots=True)
class Account:
    """One key with its tenant's limits, which bind it too; `today` is its own usage on `day` in its tenant's zone.

    `at` is the time of Redis, by which limits, windows and expiry are reckoned (DESIGN §4).
    """

    principal: Principal
    of_tenant: ScopeStanding
    of_key: ScopeStanding
    budgets: tuple[BudgetUsage, ...]
    day: date
    today: tuple[ModelUsage, ...]
    at: datetime


class AccountReader:
    """Reads accounts without consuming anything, so it is guarded: whoever is limited wants to look all the more.

    Each key looks once at a time, `at_once` keys are read for together, `most` may be here altogether; the figures
    hold for this process. `jitter` yields figures in [0, 1) that spread the hint of when to look again. While Postgres
    is known to be away nobody is kept waiting.
    """

    def __init__(
        self,
        database: Database,
        counters: RateCounters,
        *,
        warm: Callable[[Principal], Awaitable[None]],
        jitter: Callable[[], float],
        at_once: int = 2,
        most: int = 64,
        within_seconds: float = 0.8,
    ) -> None:
        self._database = database
        self._breaker = database.breaker("account")
        self._counters = counters
        self._warm = warm
        self._jitter = jitter
        self._most = most
        self._within_seconds = within_seconds
        self._looking: set[UUID] = set()
        self._turns = asyncio.Semaphore(at_once)

    async def of(self, principal: Principal) -> Account:
        """The account of a key as it stands now.

        Raises StalePrincipalError (read the principal anew), UnauthenticatedError for an expired key, RateLimitedError
        (this key is looking already), OverloadedError (too many are), UnavailableError (a store is away).
        """
        with self._place(principal.api_key_id):
            self._breaker.check()
            try:
                async with asyncio.timeout(self._within_seconds), self._turns:
                    return await self._read(principal)
            except TimeoutError as error:
                self._breaker.suspect()  # or its audit rows were too many: the probe tells
                raise UnavailableError("The account could not be read in time.") from error

    @contextmanager
    def _place(self, api_key_id: UUID) -> Iterator[None]:
        if api_key_id in self._looking:
            raise RateLimitedError(
                "This key is looking at its account already; one look at a time.",
                limit="key.account",
                retry_after_seconds=0.5 + self._jitter(),
            )
        if len(self._looking) >= self._most:
            raise OverloadedError("Too many keys are looking at their accounts.")
        self._looking.add(api_key_id)
        try:
            yield
        finally:
            self._looking.discard(api_key_id)

    async def _read(self, principal: Principal) -> Account:
        seen = await self._seen(principal)
        with self._breaker.attempt(may_take_long=True):
            return await self._looked_up(principal, seen)

    async def _looked_up(self, principal: Principal, seen: Seen) -> Account:
        async with unit_of_work(self._database) as uow:
            _check(principal, await uow.api_keys.find_by_prefix(principal.key_prefix), seen.at)
            return await _account(uow, principal, seen)

    async def _seen(self, principal: Principal) -> Seen:
        seen = await self._counters.look(principal.tenant_id, principal.api_key_id)
        if isinstance(seen, Cold):
            await self._warm(principal)
            seen = await self._counters.look(principal.tenant_id, principal.api_key_id)
        if isinstance(seen, Cold):
            raise UnavailableError("The rate limits are not available.")
        return seen


def _check(principal: Principal, record: KeyRecord | None, at: datetime) -> None:
    """Nothing reserves here, so what the ledger would have compared is compared (DESIGN §3)."""
    if record is None or not _same(principal, record):
        raise StalePrincipalError("The settings of this API key have just changed; please send the request again.")
    if principal.expires_at is not None and principal.expires_at <= at:
        raise UnauthenticatedError


def _same(principal: Principal, record: KeyRecord) -> bool:
    current = record.principal
    return (
        record.revoked_at is None
        and record.tenant_status is TenantStatus.ACTIVE
        and (current.tenant_id, current.tenant_version) == (principal.tenant_id, principal.tenant_version)
        and (current.api_key_id, current.key_version) == (principal.api_key_id, principal.key_version)
    )


async def _account(uow: UnitOfWork, principal: Principal, seen: Seen) -> Account:
    tenant_id, key_id = principal.tenant_id, principal.api_key_id
    windows = windows_at(seen.at, principal.time_zone)
    budgets = await uow.budget_usage.current(tenant_id, "tenant", tenant_id, windows)
    budgets += await uow.budget_usage.current(tenant_id, "key", key_id, windows)
    day = seen.at.astimezone(ZoneInfo(principal.time_zone)).date()
    used = await uow.usage_sums.by_model(UsageDays(tenant_id, principal.time_zone, windows.day), key_id)
    today = [usage for usage in used if usage.day == day]
    return Account(
        principal=principal,
        of_tenant=seen.tenant.held_against(principal.tenant_limits),
        of_key=seen.key.held_against(principal.key_limits),
        budgets=tuple(budgets),
        day=day,
        today=tuple(sorted(today, key=lambda usage: (-usage.charged_tokens, usage.model))),
        at=seen.at,
    )
