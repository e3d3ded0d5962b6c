"""Giving up a caller who takes nothing of what waits for it."""

import asyncio

from neuronetz_gateway.http.unsent import reset, untaken_bytes

_LOOKS_A_STALL = 10


class StallWatch:
    """Resets a connection of which nothing was taken during `seconds`, to the tenth of them.

    What counts is what the caller's own system has acknowledged: one who reads slowly is told from one who does not
    read.
    """

    __slots__ = ("_look", "_loop", "_seconds", "_taken_at", "_untaken_bytes", "_wire")

    def __init__(self, wire: asyncio.Transport, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._wire, self._loop, self._seconds = wire, loop, seconds
        self._look: asyncio.TimerHandle | None = None
        self._untaken_bytes = 0  # by the last look
        self._taken_at = 0.0

    def begin(self) -> None:
        """From now on; does nothing where it has begun."""
        if self._look is None:
            self._untaken_bytes, self._taken_at = untaken_bytes(self._wire), self._loop.time()
            self._look_again()

    def end(self) -> None:
        if self._look is not None:
            self._look.cancel()
            self._look = None

    def _look_again(self) -> None:
        self._look = self._loop.call_later(self._seconds / _LOOKS_A_STALL, self._look_now)

    def _look_now(self) -> None:
        before, self._untaken_bytes = self._untaken_bytes, untaken_bytes(self._wire)
        if self._untaken_bytes < before:
            self._taken_at = self._loop.time()
        elif self._loop.time() - self._taken_at >= self._seconds:
            reset(self._wire)
            return
        self._look_again()
