"""The load by an asyncio client: records with their times, steady rates, everything where there is no wrk."""

import asyncio
import re
import time
from collections.abc import Iterator
from typing import Any, cast
from urllib.parse import urlsplit

from bench.load import Load
from bench.tally import Tally, note_records, shares

PATIENCE_SECONDS = 120
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_HEAD_END = b"\r\n\r\n"
_LAST_CHUNK = b"\r\n0\r\n\r\n"


class Caller(asyncio.Protocol):
    """One connection; asks again after each whole answer until the load is over."""

    def __init__(self, load: Load, requests: Iterator[bytes], tally: Tally, until: float) -> None:
        self._load, self._requests, self._tally, self._until = load, requests, tally, until
        self._loop = asyncio.get_running_loop()
        self._left: int | None = None  # bytes of the body that are to come, -1 where chunks say it; None in the head
        self._rest = self._end = b""
        self.began = 0
        self.reads: list[tuple[int, bytes]] = []
        self.done: asyncio.Future[None] = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's does not say that it is one
        self._due = self._loop.time()
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if not self.done.done():
            self._tally.failures["connection lost"] += 1
            self.done.set_result(None)

    def data_received(self, data: bytes) -> None:
        if self._left is None:
            data = self._head(data)
            if self._left is None:
                return
        if self._load.stamped:
            self.reads.append((time.monotonic_ns(), data))  # looked at when all is over: here every microsecond counts
        if self._left >= 0:
            self._left -= len(data)
            ended = self._left <= 0
        else:
            self._end = (self._end + data)[-len(_LAST_CHUNK) :]
            ended = self._end == _LAST_CHUNK
        if ended:
            self._answered()

    def _ask(self) -> None:
        if self._transport.is_closing():
            return  # connection_lost tells of it
        self._left, self._rest, self._end = None, b"", b""
        self.began = time.monotonic_ns()
        self._transport.write(next(self._requests))

    def _head(self, data: bytes) -> bytes:
        """What came after the head, once there is all of it."""
        self._rest += data
        end = self._rest.find(_HEAD_END)
        if end < 0:
            return b""
        self._status = int(self._rest[9:12])
        length = _LENGTH.search(self._rest, 0, end + 2)
        self._left = int(length[1]) if length else -1
        body, self._rest = self._rest[end + len(_HEAD_END) :], b""
        return body

    def _answered(self) -> None:
        tally, load = self._tally, self._load
        tally.answers += 1
        if load.status not in {0, self._status}:
            tally.failures[str(self._status)] += 1
        tally.latency.append(time.monotonic_ns() - self.began)
        over = self._loop.time() >= self._until or (load.most and tally.answers + load.connections > load.most)
        if load.once or over:
            self.done.set_result(None)
            self._transport.close()
        elif load.interval_seconds:
            self._due = max(self._due + load.interval_seconds, self._loop.time())
            self._loop.call_at(self._due, self._ask)
        else:
            self._ask()


async def run_callers(load: Load) -> dict[str, Any]:
    """Opens all connections, waits for the last answer; raises TimeoutError where that never comes."""
    parts, loop, tally, requests = urlsplit(load.url), asyncio.get_running_loop(), Tally(), load.requests()
    began, callers = loop.time(), []
    for index in range(load.connections):
        make = lambda: Caller(load, requests, tally, began + load.seconds)  # noqa: E731 a factory is all the loop wants
        _, caller = await loop.create_connection(make, parts.hostname or "127.0.0.1", parts.port or 80)
        callers.append(caller)
        spread = 1.0 if load.once else load.interval_seconds
        if spread:
            await asyncio.sleep(max(0.0, began + (index + 1) * spread / load.connections - loop.time()))
    async with asyncio.timeout(load.seconds + PATIENCE_SECONDS):
        await asyncio.gather(*(caller.done for caller in callers))
    seconds = loop.time() - began
    for caller in callers:
        note_records(tally, caller.began, caller.reads)
    failed = {"failed": tally.failures.total(), "failures": dict(tally.failures)}
    return {"answers": tally.answers, "records": tally.records, "seconds": seconds} | failed | shares(load, tally)
