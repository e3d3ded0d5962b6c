"""The transport of one caller's connection: writes once a turn, has an end that does not take the answer with it."""

import asyncio
from collections.abc import Callable
from typing import Any

from neuronetz_gateway.http.turn_writes import TurnWrites

_HELD_AT_MOST_BYTES = 16 * 1024  # then the wire has it at once, which alone can say that the caller takes nothing


def _nothing() -> None:
    """There is nothing left to end."""


class CallerTransport(asyncio.Transport):
    """What uvicorn writes to. Closing it is left to `ending`, called once: whatever closes a connection comes by here.

    Everything else is the real transport's (`wire`). What is written waits for the end of the loop's turn, so that the
    head of an answer and what follows it are one write, and those of one turn stand together (TurnWrites).
    """

    __slots__ = ("_closed", "_ending", "_held", "_loop", "_turn", "wire")

    def __init__(
        self,
        wire: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        turn: TurnWrites,
        ending: Callable[[], None],
    ) -> None:
        super().__init__()
        self.wire = wire
        self._loop = loop
        self._turn = turn
        self._ending = ending
        self._closed = False
        self._held = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send after what was sent before; after the end nothing more."""
        if self._closed:
            return
        if self._held:
            self._held += data
        else:
            self._held = bytes(data)
            self._turn.add(self, self._loop)
        if len(self._held) > _HELD_AT_MOST_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what waits for the end of the turn now."""
        held, self._held = self._held, b""
        if held:  # also to a wire that is closing: else nobody would see that its caller takes nothing
            self.wire.write(held)

    def close(self) -> None:
        """Begin the end."""
        if not self._closed:
            self._closed = True
            self.flush()
            self._ending()

    def lost(self) -> None:
        """Let go of whoever ends it: two that hold each other stay in memory until a collection finds them.

        Of what still waits too: a transport that is gone refuses what is written to it.
        """
        self._closed = True
        self._held = b""
        self._ending = _nothing

    def is_closing(self) -> bool:
        return self._closed or self.wire.is_closing()

    def abort(self) -> None:
        """Close at once, dropping what waits."""
        self._closed = True
        self._held = b""
        self.wire.abort()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.wire.get_extra_info(name, default)

    def get_write_buffer_size(self) -> int:
        return len(self._held) + self.wire.get_write_buffer_size()

    def pause_reading(self) -> None:
        self.wire.pause_reading()

    def resume_reading(self) -> None:
        self.wire.resume_reading()
