"""Charging what dead processes had reserved."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from neuronetz_gateway.db.group_commit import BatchDataError, NotCommittedError, UnknownOutcomeError
from neuronetz_gateway.errors import UnavailableError
from neuronetz_gateway.repositories.ledger import Ledger

_log = structlog.get_logger(__name__)
_AT_ONCE = 256  # requests a transaction: some 20 ms of locks


class Recovery:
    """Sweeps once a heartbeat; any number of processes may do so at the same time (DESIGN §5).

    Taken for dead is a process whose heartbeat is `after_seconds` old; for as long those of this process must have
    been good, since an outage of Postgres makes every heartbeat old. Both are measured by the clock of Postgres alone.
    A jump of it, as of a machine that slept, would make them old as well, so between two heartbeats it may advance by
    no more than half of that time. `happened` counts abandoned, with how many requests.
    """

    def __init__(self, ledger: Ledger, *, after_seconds: float, happened: Callable[[str, int], None]) -> None:
        self._ledger = ledger
        self._age = timedelta(seconds=after_seconds)
        self._happened = happened
        self._good_since: datetime | None = None
        self._last: datetime | None = None
        self._due = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begins to sweep in the background, when it is time."""
        self._task = asyncio.get_running_loop().create_task(self._go_on(), name="recovery")

    async def aclose(self) -> None:
        """Ends the sweeps; one under way is committed whole or not at all. Does nothing if it was never started."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait([self._task])
        self._task = None

    def heard(self, at: datetime | None) -> None:
        """A heartbeat of this process, by the clock of Postgres; None where it failed, which starts the wait anew."""
        last, self._last = self._last, at
        if at is None:
            self._good_since = None
            return
        if self._good_since is None or last is None or not timedelta() <= at - last <= self._age / 2:
            self._good_since = at
        if at - self._good_since >= self._age:
            self._due.set()

    @property
    def due(self) -> bool:
        """Whether a sweep has been asked for that has not begun."""
        return self._due.is_set()

    async def sweep(self) -> int:
        """Charges in full whatever dead processes hold; how many requests that were.

        Raises BatchDataError, NotCommittedError, UnknownOutcomeError; what is done by then stays.
        """
        found = 0
        try:
            while True:
                count = await self._ledger.abandon(age=self._age, most=_AT_ONCE, heard_at=self._last)
                found += count
                if count < _AT_ONCE:
                    return found
        finally:
            if found:
                self._happened("abandoned", found)
                _log.warning("abandoned", requests=found)

    async def _go_on(self) -> None:
        while True:
            await self._due.wait()
            self._due.clear()
            try:
                await self.sweep()
            except (NotCommittedError, UnknownOutcomeError, UnavailableError) as error:
                _log.warning("recovery_waits_for_postgres", error=str(error))
            except BatchDataError as error:
                _log.error("recovery_failed", error=str(error))
            except Exception:  # noqa: BLE001 - nobody else may be left to charge what the dead held
                _log.exception("recovery_failed")
