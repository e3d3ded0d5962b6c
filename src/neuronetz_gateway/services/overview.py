"""What of the database operators watch: budgets that near their end, audit rows that nothing has signed yet."""

import asyncio
from collections.abc import Callable

import structlog

from neuronetz_gateway.db.database import Database
from neuronetz_gateway.domain.budget import windows_at
from neuronetz_gateway.errors import UnavailableError
from neuronetz_gateway.observability.vitals import Vitals
from neuronetz_gateway.repositories.unit_of_work import UnitOfWork, unit_of_work

LEVELS_PERCENT = (80, 95, 100)
_log = structlog.get_logger(__name__)


class Overview:
    """Looks when somebody wants to know, once in `kept_seconds` at the most; gauges that nobody reads cost nothing.

    By two short transactions on a database of its own, which wait for nobody and hold nobody up. `clock` is monotonic,
    in seconds. `happened` counts overview_failed.
    """

    def __init__(
        self,
        database: Database,
        vitals: Vitals,
        *,
        clock: Callable[[], float],
        happened: Callable[[str], None],
        kept_seconds: float = 60.0,
        patience_seconds: float = 2.0,
    ) -> None:
        self._database, self._vitals, self._clock, self._happened = database, vitals, clock, happened
        self._kept_seconds, self._patience_seconds = kept_seconds, patience_seconds
        self._look: asyncio.Task[None] | None = None
        self._began = 0.0

    async def refresh(self) -> None:
        """Sets the gauges anew, if they are old; returns after `patience_seconds` in any case."""
        if self._look is None or (self._look.done() and self._clock() - self._began >= self._kept_seconds):
            self._began = self._clock()
            self._look = asyncio.create_task(self._look_around(), name="overview")
        await asyncio.wait([self._look], timeout=self._patience_seconds)

    async def aclose(self) -> None:
        """Ends a look that is under way."""
        if self._look is not None and not self._look.done():
            self._look.cancel()
            await asyncio.wait([self._look])
        await self._database.aclose()

    async def _look_around(self) -> None:
        try:
            async with unit_of_work(self._database) as uow:
                await self._look_at_budgets(uow)
            async with unit_of_work(self._database) as uow:
                await self._look_at_audit(uow)
        except UnavailableError as error:
            self._happened("overview_failed")
            _log.warning("overview_failed", error=type(error.__cause__ or error).__name__)
        finally:
            await self._database.aclose()  # which opens it again when it is wanted: no connection idles for a minute

    async def _look_at_budgets(self, uow: UnitOfWork) -> None:
        now, zones = await uow.budget_levels.zones()
        windows = {zone: windows_at(now, zone) for zone in zones}
        for (period, percent), count in (await uow.budget_levels.counts(windows, LEVELS_PERCENT)).items():
            self._vitals.budgets_found(period.value, percent, count)

    async def _look_at_audit(self, uow: UnitOfWork) -> None:
        last = await uow.audit_chains.last_checkpoint()
        if last is None or not await uow.audit_chains.moved_heads():
            self._vitals.audit_unsigned(0)
        else:
            self._vitals.audit_unsigned((await uow.audit_chains.now() - last.at).total_seconds())
