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
from neuronetz_gateway.errors import AnswerCutError, GatewayError

_log = structlog.get_logger(__name__)
_AT_ONCE = 500


class _Lease:
    """An open admission with what to do when it must end, and why it must."""

    __slots__ = ("admission", "cut_by", "on_cut")

    def __init__(self, admission: Admission) -> None:
        self.admission = admission
        self.on_cut: Callable[[GatewayError], None] | None = None
        self.cut_by: GatewayError | None = None

    def cut(self, error: GatewayError) -> bool:
        """False where it had been cut before: the first reason stands."""
        if self.cut_by is not None:
            return False
        self.cut_by = error
        if self.on_cut is not None:
            # In a turn of its own, so that one owner's error cannot end the heartbeats of all.
            asyncio.get_running_loop().call_soon(self.on_cut, error)
        return True


class LeaseKeeper:
    """Extends the lease of every open admission each `heartbeat_seconds`, one call a tenant.

    A lost lease calls its owner once (DESIGN §4: fenced), as does whatever else cuts it. A heartbeat that Redis does
    not answer is left out; leases outlive several. One that is cut is not extended: its work ends long before it.
    """

    def __init__(self, counters: RateCounters, *, heartbeat_seconds: float) -> None:
        self._counters = counters
        self._heartbeat_seconds = heartbeat_seconds
        self._leases: dict[UUID, _Lease] = {}
        self._beating: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """How many admissions are open."""
        return len(self._leases)

    @property
    def held(self) -> tuple[Admission, ...]:
        """The open admissions, without those that are being cut."""
        return tuple(lease.admission for lease in self._leases.values() if lease.cut_by is None)

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

    def guard(self, admission: Admission, on_cut: Callable[[GatewayError], None]) -> GatewayError | None:
        """Calls `on_cut` in a turn of its own, with what to tell, once it is lost or cut; gives that where it is."""
        lease = self._leases.get(admission.id)
        if lease is None:
            return None
        lease.on_cut = on_cut
        return lease.cut_by

    def cut(self, where: Callable[[Admission], bool], error: Callable[[], GatewayError]) -> int:
        """Cuts the open admissions that match, each with an error of its own; how many."""
        matching = [lease for lease in self._leases.values() if lease.cut_by is None and where(lease.admission)]
        return sum(lease.cut(error()) for lease in matching)

    async def beat(self) -> None:
        """One heartbeat of all open leases."""
        by_tenant = attrgetter("tenant_id")
        admissions = sorted(self.held, key=by_tenant)
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
            lease = self._leases.get(admission.id)
            if lease is not None:
                lease.cut(AnswerCutError("The answer was cut by the gateway: its place under the limits was lost."))
