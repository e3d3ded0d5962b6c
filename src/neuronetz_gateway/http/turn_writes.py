"""What one turn of the event loop has for its callers, written when the turn has seen all that arrived."""

import asyncio
from typing import Protocol


class Waiting(Protocol):
    def flush(self) -> None: ...
    def abort(self) -> None: ...


class TurnWrites:
    """Written as they come, between one read and the next, each write finds the process at its other end asleep again.

    Waking it is the dearest part of a record (docs/PERFORMANCE.md); written one behind the other they find it awake.
    """

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[Waiting] = []

    def add(self, waiting: Waiting, loop: asyncio.AbstractEventLoop) -> None:
        """Have it flushed once this turn's reads are done; it may be added again after that."""
        if not self._waiting:
            loop.call_soon(self._flush, loop)
        self._waiting.append(waiting)

    def _flush(self, loop: asyncio.AbstractEventLoop) -> None:
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            try:
                one.flush()
            except Exception as error:  # noqa: BLE001 - its caller would miss what was lost; the others are not at fault
                loop.call_exception_handler({"message": "An answer could not be written.", "exception": error})
                one.abort()
