"""Work that outlives the request which began it."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from neuronetz_gateway.errors import GatewayError

_log = structlog.get_logger(__name__)


class BackgroundWork:
    """Runs tasks that nobody waits for until `flush`; a failure is logged, then counted by its event's name."""

    def __init__(self, happened: Callable[[str], None]) -> None:
        self._happened = happened
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, Any], *, failing: str) -> None:
        """Begins some work; `failing` is the event to report should it fail."""
        task = asyncio.create_task(work, name=failing)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def flush(self) -> None:
        """Waits until all work is over, that which begins meanwhile included."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is None:
            return
        self._happened(task.get_name())
        # An outage is known by its name; only a defect needs its traceback.
        known = isinstance(error, GatewayError | asyncio.CancelledError)
        _log.warning(task.get_name(), error=type(error).__name__, exc_info=None if known else error)
