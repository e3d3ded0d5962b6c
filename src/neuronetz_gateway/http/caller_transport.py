"""The transport of one caller's connection, with an end that does not take the last answer with it."""

import asyncio
from collections.abc import Callable
from typing import Any


def _nothing() -> None:
    """There is nothing left to end."""


class CallerTransport(asyncio.Transport):
    """What uvicorn writes to. Closing it is left to `ending`, called once: whatever closes a connection comes by here.

    Everything else is the real transport's (`wire`). The head of an answer waits until the end of the loop's turn for
    what follows it: written apart, each of the two would wake the caller up.
    """

    def __init__(self, wire: asyncio.Transport, loop: asyncio.AbstractEventLoop, ending: Callable[[], None]) -> None:
        super().__init__()
        self.wire = wire
        self._loop = loop
        self._ending = ending
        self._closed = False
        self._head = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send after what was sent before; after the end nothing more."""
        if self._closed:
            return
        if self._head:
            head, self._head = self._head, b""
            self.wire.write(head + data)
        else:
            self.wire.write(data)

    def write_head(self, head: bytes) -> None:
        """Send the head of an answer with what follows it in this turn of the loop, or alone."""
        if not self._closed:
            self._head = head
            self._loop.call_soon(self._send_head)

    def close(self) -> None:
        """Begin the end."""
        if not self._closed:
            self._closed = True
            self._send_head()
            self._ending()

    def lost(self) -> None:
        """Let go of whoever ends it: two that hold each other stay in memory until a collection finds them.

        Of a head that still waits too: a transport that is gone refuses what is written to it.
        """
        self._closed = True
        self._head = b""
        self._ending = _nothing

    def is_closing(self) -> bool:
        return self._closed or self.wire.is_closing()

    def abort(self) -> None:
        """Close at once, dropping what waits."""
        self._closed = True
        self.wire.abort()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.wire.get_extra_info(name, default)

    def get_write_buffer_size(self) -> int:
        return len(self._head) + self.wire.get_write_buffer_size()

    def pause_reading(self) -> None:
        self.wire.pause_reading()

    def resume_reading(self) -> None:
        self.wire.resume_reading()

    def _send_head(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            self.wire.write(head)
