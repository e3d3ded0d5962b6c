"""The cheapest upstream that still speaks Ollama's /api/chat, for benchmarks."""

import argparse
import asyncio
import re
from typing import cast

import uvloop

from bench.canned import OTHERS, SMALL, STREAM_HEAD, burst
from bench.pacing import PacedStream, Pacer

_ASK = re.compile(rb"#(burst|paced) (\d+)(?: (\d+))?#")
_ASK_BYTES = 4096  # of a body, in which an ask stands; a large prompt is not read to its end
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class FastOllama(asyncio.Protocol):
    """No parser, no pipelining, no chunked requests: what nginx or a gateway sends is enough.

    A prompt that holds `#burst N#` is answered with N records at once, `#paced N R#` with N records at R a second, each
    of them carrying the time of its sending (`@nanoseconds@`, monotonic clock); everything else with one small body.
    """

    def __init__(self, pacer: Pacer) -> None:
        self._pacer = pacer
        self._buffer = b""
        self._bursts: dict[int, bytes] = {}
        self._stream: PacedStream | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's does not say that it is one

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self._stream is not None:
            self._stream.left = 0

    def data_received(self, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
        end = data.find(b"\r\n\r\n")
        length = _LENGTH.search(data, 0, end) if end >= 0 else None
        if end < 0 or (length is not None and len(data) < end + 4 + int(length[1])):
            self._buffer = data
            return
        self._buffer = b""
        self._answer(data, end)

    def _answer(self, data: bytes, head_end: int) -> None:
        if not data.startswith(b"POST /api/chat"):
            path = data.split(b" ", 2)[1].partition(b"?")[0]
            self._transport.write(OTHERS.get(path, SMALL))
            return
        ask = _ASK.search(data, head_end, head_end + _ASK_BYTES)
        if ask is None:
            self._transport.write(SMALL)
        elif ask[1] == b"burst":
            records = int(ask[2])
            if records not in self._bursts:
                self._bursts[records] = burst(records)
            self._transport.write(self._bursts[records])
        else:
            self._transport.write(STREAM_HEAD)
            self._stream = PacedStream(self._transport, int(ask[2]), int(ask[2]), 1000 // int(ask[3] or 20))
            self._pacer.add(self._stream, self._pacer.now() + 1)


async def serve(port: int) -> None:
    pacer = Pacer()
    server = await asyncio.get_running_loop().create_server(lambda: FastOllama(pacer), "127.0.0.1", port, backlog=4096)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    uvloop.run(serve(parser.parse_args().port))
