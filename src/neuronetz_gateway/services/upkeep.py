"""What a gateway does for its database beside serving, each chore at its own pace."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from neuronetz_gateway.errors import UnavailableError

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Chore:
    """Something to do every so often; `retry_seconds` after it failed. Every process may do it at the same time.

    `rest` is called behind each time, once more at the end: it lets go of what is not needed until the next time.
    """

    name: str
    work: Callable[[], Awaitable[object]]
    every_seconds: float
    retry_seconds: float
    rest: Callable[[], Awaitable[object]] | None = None


class Upkeep:
    """Does each chore once soon after the start, then again and again; `last` is done once more at the end.

    `jitter` (from 0 to 1) spreads the first time over a second, since processes are started together. `happened` counts
    failures by the name of the chore: retention_failed, ...
    """

    def __init__(
        self,
        chores: Sequence[Chore],
        *,
        last: Chore | None = None,
        jitter: Callable[[], float],
        close_within_seconds: float = 2.0,
        happened: Callable[[str], None] = lambda _event: None,
    ) -> None:
        self._chores = chores
        self._last = last
        self._jitter = jitter
        self._close_within_seconds = close_within_seconds
        self._happened = happened
        self._ending = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begins in the background."""
        loop = asyncio.get_running_loop()
        self._ending.clear()
        self._tasks = [loop.create_task(self._go_on(chore), name=f"upkeep {chore.name}") for chore in self._chores]

    async def aclose(self) -> None:
        """Lets what is being done end, for as long as `close_within_seconds`. Does nothing if it was never started."""
        tasks, self._tasks = self._tasks, []
        if not tasks:
            return
        self._ending.set()
        _, late = await asyncio.wait(tasks, timeout=self._close_within_seconds)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)
        for chore in self._chores:
            if chore.rest is not None:
                await chore.rest()
        if self._last is None:
            return
        try:
            async with asyncio.timeout(self._close_within_seconds):
                await self._do(self._last)
        except TimeoutError:
            _log.warning("upkeep_ended_early", chore=self._last.name)

    async def _go_on(self, chore: Chore) -> None:
        pause_seconds = self._jitter() * min(1.0, chore.every_seconds)
        while not await self._ends_within(pause_seconds):
            done = await self._do(chore)
            if chore.rest is not None:
                await chore.rest()
            pause_seconds = chore.every_seconds if done else min(chore.retry_seconds, chore.every_seconds)

    async def _ends_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                return await self._ending.wait()
        except TimeoutError:
            return False

    async def _do(self, chore: Chore) -> bool:
        try:
            await chore.work()
        except UnavailableError as error:
            self._happened(f"{chore.name}_failed")
            _log.warning("upkeep_failed", chore=chore.name, error=type(error.__cause__ or error).__name__)
            return False
        except Exception:  # noqa: BLE001 - with the task over, nobody would do the chore again
            self._happened(f"{chore.name}_failed")
            _log.exception("upkeep_failed", chore=chore.name)
            return False
        return True
