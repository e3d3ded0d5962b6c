"""Callers who take one byte of their answer a second."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

_RECEIVE_BUFFER_BYTES = 4096
_TCP_ESTABLISHED = 1


@dataclass(slots=True)
class SlowReader:
    """One of them; `cut_at` is when its connection was ended, by time.monotonic."""

    connected: socket.socket
    received_bytes: int = 0
    cut_at: float | None = None

    def take_a_byte(self) -> None:
        """What has arrived can be read for a long time after a reset, so the state of the connection is looked at."""
        with contextlib.suppress(BlockingIOError, ConnectionError):
            self.received_bytes += len(self.connected.recv(1))
        if self.connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != _TCP_ESTABLISHED:
            self.cut_at = time.monotonic()


@dataclass(slots=True)
class SlowReaders:
    base_url: str
    readers: list[SlowReader] = field(default_factory=list)

    async def ask(self, request: bytes, count: int) -> None:
        """So many more of them, each with this request on a connection of its own."""
        parts = urlsplit(self.base_url)
        loop = asyncio.get_running_loop()
        for _ in range(count):
            connected = socket.socket()
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
            connected.setblocking(False)
            await loop.sock_connect(connected, (parts.hostname, parts.port))
            await loop.sock_sendall(connected, request)
            self.readers.append(SlowReader(connected))

    @property
    def uncut(self) -> list[SlowReader]:
        return [reader for reader in self.readers if reader.cut_at is None]

    async def go_on(self, every_seconds: float) -> None:
        """Each takes one byte in that time, for ever."""
        while True:
            for reader in self.uncut:
                reader.take_a_byte()
            await asyncio.sleep(every_seconds)

    async def all_cut(self, timeout_seconds: float) -> None:
        async with asyncio.timeout(timeout_seconds):
            while self.uncut:
                await asyncio.sleep(0.02)


@asynccontextmanager
async def slow_readers(base_url: str, *, every_seconds: float = 1.0) -> AsyncIterator[SlowReaders]:
    """Readers who read until the block is left."""
    readers = SlowReaders(base_url)
    reading = asyncio.create_task(readers.go_on(every_seconds))
    try:
        yield readers
    finally:
        reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reading
        for reader in readers.readers:
            reader.connected.close()


def resident_bytes(pid: int) -> int:
    """What a process has in memory of its own, shared files apart."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    [anonymous] = [line for line in lines if line.startswith("RssAnon:")]
    return int(anonymous.split()[1]) * 1024
