"""Callers who hold connections by sending next to nothing."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

_DRIP_SECONDS = 1.0
_GIVEN_UP_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Held:
    """One connection: for how long the server bore it, what it said at the end."""

    seconds: float
    answer: bytes


@dataclass(frozen=True, slots=True)
class Slow:
    """A way to hold a connection: what is sent at once, then what is sent every second."""

    name: str
    first: bytes
    drip: bytes
    allowed_seconds: float


def slow_ways(key: str) -> Sequence[Slow]:
    """PROMISES O3: heads are cut after 10 s, bodies after 30 s, idle connections after 60 s; the first head is due as
    soon as the connection is there."""
    head = (
        b"POST /api/chat HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer " + key.encode() + b"\r\n"
        b"content-length: 4096\r\n"
    )
    asked = b"GET /healthz HTTP/1.1\r\nhost: gateway\r\n\r\n"
    return (
        Slow("silent", b"", b"", 10),
        Slow("slow head", head, b"x-a: b\r\n", 10),
        Slow("slow line", b"GET /", b"a", 10),
        Slow("line breaks", b"", b"\r\n", 10),
        Slow("slow body", head + b"\r\n", b"a", 30),
        Slow(
            "slow chunks",
            head.replace(b"content-length: 4096", b"transfer-encoding: chunked") + b"\r\n",
            b"1\r\na\r\n",
            30,
        ),
        Slow("idle", asked, b"", 60),
        Slow("slow second head", asked + b"GET /", b"a", 10),
    )


async def hold(base_url: str, way: Slow, clock: Callable[[], float] = time.monotonic) -> Held:
    """Holds one connection in this way until the server ends it."""
    parts = urlsplit(base_url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    began = clock()
    answer = asyncio.create_task(_all(reader))
    try:
        writer.write(way.first)
        async with asyncio.timeout(_GIVEN_UP_SECONDS):
            while not answer.done():
                await asyncio.wait([answer], timeout=_DRIP_SECONDS)
                if way.drip and not writer.is_closing():
                    with contextlib.suppress(ConnectionError):
                        writer.write(way.drip)
                        await writer.drain()
        return Held(clock() - began, answer.result())
    finally:
        answer.cancel()
        writer.transport.abort()


async def _all(reader: asyncio.StreamReader) -> bytes:
    said = b""
    with contextlib.suppress(ConnectionError):
        while more := await reader.read(65_536):
            said += more
    return said
