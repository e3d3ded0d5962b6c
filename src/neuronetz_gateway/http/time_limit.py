"""A time limit that costs next to nothing where it is not reached."""

import asyncio
from types import TracebackType

from neuronetz_gateway.common_timer import CommonTimer


class TimeLimit:
    """Like asyncio.timeout, by a timer that all blocks of one length share: TimeoutError comes out of the block.

    A cancellation that somebody else asked for passes through.
    """

    __slots__ = ("_cancelling", "_over", "_task", "_timer")

    def __init__(self, timer: CommonTimer) -> None:
        self._timer = timer
        self._over = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a time limit needs a task")
        self._task, self._cancelling = task, task.cancelling()
        self._timer.start(self._end)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.stop(self._end)
        if self._over and self._task.uncancel() <= self._cancelling and isinstance(error, asyncio.CancelledError):
            raise TimeoutError from error

    def _end(self) -> None:
        self._over = True
        self._task.cancel()
