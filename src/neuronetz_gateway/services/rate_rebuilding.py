"""Giving Redis back what it lost of a tenant, before anything more of that tenant is admitted."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from uuid import UUID

import structlog

from neuronetz_gateway.counters.admissions import RateCounters, RebuildNotBegun
from neuronetz_gateway.counters.errors import EvictingStoreError
from neuronetz_gateway.domain.identifier import uuid7
from neuronetz_gateway.domain.principal import Principal
from neuronetz_gateway.domain.rate_history import NO_HISTORY, RateHistory
from neuronetz_gateway.errors import StalePrincipalError, UnavailableError
from neuronetz_gateway.repositories.admitted_requests import AdmittedRequests

_log = structlog.get_logger(__name__)
_LOOK_AGAIN_SECONDS = 0.02
_LATE_SECONDS = 1.0  # for the answers of Redis, past the time that a rebuild has


class RateRebuilder:
    """Makes cold tenants warm, exactly: what the lost Redis had admitted is in the ledger, or never goes up.

    The ledger raises the tenant's version as it tells what the tenant was admitted for. So a request that holds a
    reservation by then is counted; one that was admitted, but has none yet, is stale when it comes to reserve, undoes
    its admission, goes through the chain once more (docs/decisions/0010).

    One rebuild a tenant at a time, over all processes; in this one `at_once` of them, each within `within_seconds`.
    `happened` counts the event rates_rebuilt, where there was anything to give back.
    """

    def __init__(
        self,
        admitted: AdmittedRequests,
        counters: RateCounters,
        *,
        within_seconds: float,
        at_once: int = 2,
        new_id: Callable[[], UUID] = uuid7,
        happened: Callable[[str], None] = lambda _event: None,
    ) -> None:
        self._admitted = admitted
        self._counters = counters
        self._within_seconds = within_seconds
        self._new_id = new_id
        self._happened = happened
        self._turns = asyncio.Semaphore(at_once)
        self._under_way: dict[UUID, asyncio.Task[None]] = {}

    async def warm(self, principal: Principal) -> None:
        """Returns when Redis knows the tenant of a principal, which is stale then; for a tenant that was found cold.

        Raises StalePrincipalError where there is no such tenant any more, UnavailableError.
        """
        tenant_id = principal.tenant_id
        self._admitted.check()
        task = self._under_way.get(tenant_id)
        if task is None:
            task = self._under_way[tenant_id] = asyncio.create_task(self._in_time(tenant_id), name="rates-rebuild")
            task.add_done_callback(lambda done: self._done(tenant_id, done))
        try:
            # Shielded: whoever leaves must not take it from the others.
            await asyncio.shield(task)
        except UnavailableError as error:  # one of its own for each caller
            kind = StalePrincipalError if isinstance(error, StalePrincipalError) else UnavailableError
            raise kind("The rate limits are not available. Nothing was sent to the model.") from error

    async def aclose(self) -> None:
        """Waits for the rebuilds under way."""
        if self._under_way:
            await asyncio.wait(self._under_way.values())

    def _done(self, tenant_id: UUID, task: asyncio.Task[None]) -> None:
        del self._under_way[tenant_id]
        if not task.cancelled():
            task.exception()  # looked at, in case that nobody waits any more

    async def _in_time(self, tenant_id: UUID) -> None:
        try:
            async with asyncio.timeout(self._within_seconds), self._turns:
                await self._rebuild(tenant_id)
        except TimeoutError as error:
            self._admitted.suspect()
            raise UnavailableError("The rate limits could not be rebuilt in time.") from error
        except EvictingStoreError as error:
            raise UnavailableError("The rate limits cannot be kept.") from error

    async def _rebuild(self, tenant_id: UUID) -> None:
        await self._counters.check_eviction_policy()  # a server that throws tenants away makes them cold, too
        rebuild_id = self._new_id()
        since = await self._begun(tenant_id, rebuild_id)
        if since is None:
            return
        found = await self._admitted.fence_off(tenant_id, since=since)
        if found is None:
            raise StalePrincipalError("There is no such tenant any more.")
        version, history = found
        await self._write(tenant_id, rebuild_id, version, history)

    async def _begun(self, tenant_id: UUID, rebuild_id: UUID) -> datetime | None:
        """None where another process has rebuilt the tenant, which is waited for."""
        within_seconds = self._within_seconds + _LATE_SECONDS
        while True:
            since = await self._counters.begin_rebuild(tenant_id, rebuild_id, within_seconds=within_seconds)
            if isinstance(since, datetime):
                return since
            if since is RebuildNotBegun.WARM:
                return None
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)

    async def _write(self, tenant_id: UUID, rebuild_id: UUID, version: int, history: RateHistory) -> None:
        if not await self._counters.finish_rebuild(tenant_id, rebuild_id, version, history):
            raise UnavailableError("Redis lost its memory again meanwhile.")
        if history != NO_HISTORY:  # else the tenant is new, or has been quiet for so long that nothing was lost
            self._happened("rates_rebuilt")
            _log.warning(
                "rates_rebuilt",
                tenant_id=str(tenant_id),
                ended_requests=sum(bucket.requests for bucket in history.buckets),
                open_requests=len(history.open_requests),
            )
