"""The transport of one caller's connection, with an end that does not take the last answer with it."""

import asyncio
from collections.abc import Callable
from typing import Any


class CallerTransport(asyncio.Transport):
    """What uvicorn writes to. Closing it is left to `ending`, called once: whatever closes a connection comes by here.

    Everything else is the real transport's (`wire`).
    """

    def __init__(self, wire: asyncio.Transport, ending: Callable[[], None]) -> None:
        super().__init__()
        self.wire = wire
        self._ending = ending
        self._closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send after what was sent before; after the end nothing more."""
        if not self._closed:
            self.wire.write(data)

    def close(self) -> None:
        """Begin the end."""
        if not self._closed:
            self._closed = True
            self._ending()

    def is_closing(self) -> bool:
        return self._closed or self.wire.is_closing()

    def abort(self) -> None:
        """Close at once, dropping what waits."""
        self._closed = True
        self.wire.abort()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.wire.get_extra_info(name, default)

    def get_write_buffer_size(self) -> int:
        return self.wire.get_write_buffer_size()

    def pause_reading(self) -> None:
        self.wire.pause_reading()

    def resume_reading(self) -> None:
        self.wire.resume_reading()
