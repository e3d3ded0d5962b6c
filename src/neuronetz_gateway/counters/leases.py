"""The leases of this process, kept alive by heartbeats."""

import asyncio
from collections.abc import Callable
from itertools import batched, groupby
from operator import attrgetter
from uuid import UUID

import structlog

from neuronetz_gateway.counters.admissions import RateCounters
from neuronetz_gateway.counters.errors import CountersUnavailableError
from neuronetz_gateway.domain.admission import Admission

_log = structlog.get_logger(__name__)
_AT_ONCE = 500


class _Lease:
    """An open admission with what to do when its place is lost."""

    __slots__ = ("admission", "lost", "on_lost")

    def __init__(self, admission: Admission) -> None:
        self.admission = admission
        self.on_lost: Callable[[], None] | None = None
        self.lost = False


class LeaseKeeper:
    """Extends the lease of every open admission each `heartbeat_seconds`, one call a tenant.

    A lost lease calls its owner once (DESIGN §4: fenced). A heartbeat that Redis does not answer is left out; leases
    outlive several.
    """

    def __init__(self, counters: RateCounters, *, heartbeat_seconds: float) -> None:
        self._counters = counters
        self._heartbeat_seconds = heartbeat_seconds
        self._leases: dict[UUID, _Lease] = {}
        self._beating: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """How many admissions are open."""
        return len(self._leases)

    async def start(self) -> None:
        """Begins the heartbeats."""
        self._beating = asyncio.create_task(self._beat_for_ever(), name="lease-heartbeat")

    async def aclose(self) -> None:
        """Ends the heartbeats; leases still open run out by themselves."""
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.wait((self._beating,))

    def hold(self, admission: Admission) -> None:
        """Keeps an admission's lease alive from now on."""
        self._leases[admission.id] = _Lease(admission)

    def release(self, admission: Admission) -> bool:
        """Stops keeping a lease alive; False where that had been done before."""
        return self._leases.pop(admission.id, None) is not None

    def guard(self, admission: Admission, on_lost: Callable[[], None]) -> None:
        """Calls `on_lost` in a turn of its own once the lease is found lost, also if it has been already."""
        lease = self._leases.get(admission.id)
        if lease is None:
            return
        lease.on_lost = on_lost
        if lease.lost:
            asyncio.get_running_loop().call_soon(on_lost)

    async def beat(self) -> None:
        """One heartbeat of all open leases."""
        by_tenant = attrgetter("tenant_id")
        admissions = sorted((lease.admission for lease in self._leases.values() if not lease.lost), key=by_tenant)
        async with asyncio.TaskGroup() as group:
            for tenant_id, of_tenant in groupby(admissions, key=by_tenant):
                for batch in batched(of_tenant, _AT_ONCE):
                    group.create_task(self._extend(tenant_id, batch))

    async def _beat_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._heartbeat_seconds)
            try:
                await self.beat()
            except Exception:  # noqa: BLE001 - with the heartbeats over, every place would be given away
                _log.exception("lease_heartbeat_failed")

    async def _extend(self, tenant_id: UUID, admissions: tuple[Admission, ...]) -> None:
        try:
            lost = await self._counters.heartbeat(tenant_id, admissions)
        except CountersUnavailableError:
            return
        for admission in lost:
            self._lose(admission)

    def _lose(self, admission: Admission) -> None:
        lease = self._leases.get(admission.id)
        if lease is None or lease.lost:
            return
        lease.lost = True
        if lease.on_lost is not None:
            # In a turn of its own, so that one owner's error cannot end the heartbeats of all.
            asyncio.get_running_loop().call_soon(lease.on_lost)
