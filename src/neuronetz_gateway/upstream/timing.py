"""How long the upstream may be silent."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx


class SilenceError(httpx.ReadTimeout):
    """The upstream had begun to answer, then fell silent; before that it is httpx.ReadTimeout itself."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Bounds of one exchange; None waits for ever.

    first_byte_seconds ends with the complete head, which Ollama sends with its first token: it spans queue, model load
    and prompt evaluation (OLLAMA §3.1). progress_seconds bounds each gap between records, as well as each stall of an
    upload.
    """

    connect_seconds: float | None
    first_byte_seconds: float | None
    progress_seconds: float | None
    upload_stall_seconds: float | None

    def overridden(self, timeout: Mapping[str, Any]) -> "Timeouts":
        """These bounds under httpx's `timeout` request extension (connect, read, write), whose keys win when given."""
        return Timeouts(
            connect_seconds=timeout.get("connect", self.connect_seconds),
            first_byte_seconds=timeout.get("read", self.first_byte_seconds),
            progress_seconds=timeout.get("read", self.progress_seconds),
            upload_stall_seconds=timeout.get("write", self.upload_stall_seconds),
        )


class Deadline:
    """One movable deadline.

    Moving it later, which happens with every record, costs an attribute: the armed timer wakes early, sees that the
    deadline has moved on, then sleeps for the rest. A timer a record would cost more than the record.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, clock: Callable[[], float], expired: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._expired = expired
        self._at: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    @property
    def passed(self) -> bool:
        return self._at is not None and self._clock() >= self._at

    def move(self, seconds: float | None) -> None:
        """Set the deadline so many seconds from now; None lifts it."""
        if seconds is None:
            self._at = None
            return
        now = self._clock()
        self._at = at = now + seconds
        if self._timer is None or at < self._timer_at:
            self._arm(now)

    def cancel(self) -> None:
        self._at = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._at is not None:
            self._timer_at = self._at
            self._timer = self._loop.call_later(self._at - now, self._fire)

    def _fire(self) -> None:
        self._timer = None
        if self._at is None:
            return
        now = self._clock()
        if now < self._at:
            self._arm(now)
            return
        self._at = None
        self._expired()
