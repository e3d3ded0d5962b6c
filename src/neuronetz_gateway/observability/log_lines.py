"""Log lines on their way to a stream."""

import asyncio
import threading
from typing import BinaryIO


class LogLines:
    """What structlog writes to: the lines of one turn of the event loop leave in one write, others at once.

    Whoever sets it up has `flush` called at the end of the process, for the case that it ends amidst a turn.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lines: list[bytes] = []
        self._awaited_in: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()  # Argon2 and large bodies have threads of their own

    def write(self, line: bytes) -> None:
        with self._lock:
            self._lines.append(line)
        loop = _running_loop()
        if loop is None:
            self.flush()
        elif loop is not self._awaited_in:
            self._awaited_in = loop
            loop.call_soon(self.flush)

    debug = info = warning = error = critical = exception = write

    def flush(self) -> None:
        with self._lock:
            self._awaited_in = None
            lines, self._lines = self._lines, []
            if lines:
                self._stream.write(b"\n".join(lines) + b"\n")
                self._stream.flush()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
