"""Ending a relay from outside its own course."""

import asyncio
from types import TracebackType

from starlette.types import Receive

from neuronetz_gateway.common_timer import CommonTimer
from neuronetz_gateway.domain.audit import Outcome
from neuronetz_gateway.errors import GatewayError, UpstreamTimedOutError

# A reply that is out sooner than this pays for no timer, no listening task; the promise to notice is 1 s (S1).
LISTEN_AFTER_SECONDS = 0.05


class RelayEndedError(Exception):
    """The relay was ended from outside; `outcome` says by whom, `told` what a caller who is still there is told."""

    def __init__(self, outcome: Outcome, told: GatewayError | None) -> None:
        super().__init__(outcome.value)
        self.outcome, self.told = outcome, told


class CallerWatch:
    """Cancels the task that entered it when the caller leaves, the total time is over or `end` is called.

    The cancellation comes out of the block as RelayEndedError; one that somebody else asked for passes through
    (the pattern of asyncio.timeout). Everything here is synchronous, so that leaving the block cannot be interrupted.
    `listening` tells it after LISTEN_AFTER_SECONDS to begin.
    """

    def __init__(self, receive: Receive, *, listening: CommonTimer, total_seconds: float) -> None:
        self._receive = receive
        self._listening = listening
        self._total_seconds = total_seconds
        self._ended: RelayEndedError | None = None
        self._closed = False
        self._listener: asyncio.Task[None] | None = None
        self._limit: asyncio.TimerHandle | None = None

    def __enter__(self) -> "CallerWatch":
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a relay runs in a task")
        self._task, self._cancelling = task, task.cancelling()
        self._listening.start(self._listen)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        self._listening.stop(self._listen)
        if self._limit is not None:
            self._limit.cancel()
        if self._listener is not None:
            self._listener.cancel()
        if self._ended is None:
            return
        if self._task.uncancel() <= self._cancelling and isinstance(error, asyncio.CancelledError):
            raise self._ended from error

    def end(self, outcome: Outcome, told: GatewayError | None = None) -> None:
        """End the relay now; the first reason given stands."""
        if self._ended is None and not self._closed:
            self._ended = RelayEndedError(outcome, told)
            self._task.cancel()

    def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        self._listener = loop.create_task(self._wait_for_leave())
        rest = self._total_seconds - LISTEN_AFTER_SECONDS
        self._limit = loop.call_later(max(0.0, rest), self._time_over)

    def _time_over(self) -> None:
        self.end(Outcome.UPSTREAM_TIMED_OUT, UpstreamTimedOutError("The request took too long."))

    async def _wait_for_leave(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.end(Outcome.CALLER_LEFT)
