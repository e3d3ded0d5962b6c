"""Gateways without HTTP: limiter, rebuilder and ledger of one process over real stores."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from neuronetz_gateway.counters.admissions import RateCounters
from neuronetz_gateway.domain.admission import Admission
from neuronetz_gateway.domain.identifier import uuid7
from neuronetz_gateway.domain.principal import Principal
from neuronetz_gateway.errors import StalePrincipalError
from neuronetz_gateway.repositories.admitted_requests import AdmittedRequests
from neuronetz_gateway.services.budgeting import BudgetLedger
from neuronetz_gateway.services.rate_limiting import RateLimiter
from neuronetz_gateway.services.rate_rebuilding import RateRebuilder
from tests.support.counters import batched
from tests.support.ledgers import World, make_ask, make_database, running_ledger

DONE_HOLDING_SECONDS = 20.0


@dataclass(slots=True)
class Process:
    """One gateway process as far as limits and budgets go; it remembers principals as a real one does."""

    world: World
    counters: RateCounters
    rebuilder: RateRebuilder
    limiter: RateLimiter
    ledger: BudgetLedger
    known: dict[str, Principal]

    async def let_in(self, prefix: str, estimate_tokens: int = 10) -> Admission:
        """The chain from authentication to the reservation, once more where the principal was stale; raises as it."""
        principal = self.known.get(prefix) or await self.world.principal(prefix)
        for last in (False, True):
            self.known[prefix] = principal
            try:
                return await self._let_in(principal, estimate_tokens)
            except StalePrincipalError:
                if last:
                    raise
                principal = await self.world.principal(prefix)
        raise AssertionError("not reached")

    async def _let_in(self, principal: Principal, estimate_tokens: int) -> Admission:
        admission = await self.limiter.admit(principal, uuid7(), estimate_tokens)
        ask = make_ask(id=admission.id, admitted_at=admission.admitted_at, estimated_tokens=estimate_tokens)
        try:
            await self.ledger.reserve(principal, ask)
        except BaseException:
            self.limiter.close(admission, None)
            raise
        return admission


@asynccontextmanager
async def process(
    world: World, redis_url: str, *, window_seconds: int = 60, **of_ledger: Any
) -> AsyncIterator[Process]:
    """One process; leaving it flushes it."""
    database = make_database(world.url)
    async with batched(redis_url) as connection, running_ledger(world.url, **of_ledger) as ledger:
        counters = RateCounters(connection, window_seconds=window_seconds)
        rebuilder = RateRebuilder(AdmittedRequests(database), counters, within_seconds=DONE_HOLDING_SECONDS)
        limiter = RateLimiter(counters, warm=rebuilder.warm, jitter=lambda: 0.5)
        await limiter.start()
        try:
            yield Process(world, counters, rebuilder, limiter, ledger, {})
        finally:
            await limiter.aclose()
            await rebuilder.aclose()
            await database.aclose()
