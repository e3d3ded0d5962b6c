"""Records that leave at a rate, of many streams at once."""

import asyncio
import time
from dataclasses import dataclass

from bench.canned import PACED, end_of_stream


@dataclass(slots=True)
class PacedStream:
    transport: asyncio.Transport
    records: int
    left: int  # of them
    gap_ms: int


class Pacer:
    """One timer for all streams that have a record due in the same millisecond: one each would cost too much."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._due: dict[int, list[PacedStream]] = {}

    def now(self) -> int:
        """In milliseconds of the loop's clock."""
        return int(self._loop.time() * 1000)

    def add(self, stream: PacedStream, tick: int) -> None:
        """Its next record leaves in the millisecond `tick`."""
        if tick not in self._due:
            self._due[tick] = []
            self._loop.call_at(tick / 1000, self._send, tick)
        self._due[tick].append(stream)

    def _send(self, tick: int) -> None:
        for stream in self._due.pop(tick):
            if stream.left:
                stream.left -= 1
                stream.transport.write(PACED % time.monotonic_ns())
                self.add(stream, tick + stream.gap_ms)
            elif not stream.transport.is_closing():
                stream.transport.write(end_of_stream(stream.records))
