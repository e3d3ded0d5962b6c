"""Requests as fast as this machine sends them, on connections that stay open."""

import asyncio
import re
from collections import Counter
from collections.abc import Iterator
from urllib.parse import urlsplit

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_STATUS = slice(9, 12)


def answer_end(received: bytes) -> int | None:
    """Where the first answer of a known length ends; None while it is not in whole."""
    head, found, body = received.partition(b"\r\n\r\n")
    length = _LENGTH.search(head)
    size = int(length[1] if length else 0)
    return len(head) + len(found) + size if found and len(body) >= size else None


class _Lane(asyncio.Protocol):
    """One connection: the next request goes out when the answer to the last one is in whole."""

    def __init__(self, requests: Iterator[bytes], seen: Counter[int]) -> None:
        self._requests = requests
        self._seen = seen
        self._buffer = b""
        self.ended: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if answer_end(self._buffer) is not None:
            self._seen[int(self._buffer[_STATUS])] += 1
            self._buffer = b""
            self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if not self.ended.done():
            self.ended.set_result(False)

    def _send(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self.ended.set_result(True)
            self._transport.close()
        else:
            self._transport.write(request)


async def flood(base_url: str, requests: Iterator[bytes], *, connections: int) -> Counter[int]:
    """Sends all requests, round about; how often each status came. No connection may be closed under way."""
    parts, seen, loop = urlsplit(base_url), Counter[int](), asyncio.get_running_loop()
    assert parts.hostname is not None
    assert parts.port is not None
    lanes = [
        (await loop.create_connection(lambda: _Lane(requests, seen), parts.hostname, parts.port))[1]
        for _ in range(connections)
    ]
    ended = await asyncio.gather(*(lane.ended for lane in lanes))
    assert all(ended), f"{ended.count(False)} of {connections} connections were closed by the gateway"
    return seen
