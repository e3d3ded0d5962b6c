"""The cheapest upstream that still speaks Ollama's /api/chat, for benchmarks."""

import argparse
import asyncio
import re
import time
from dataclasses import dataclass
from typing import cast

import uvloop

MODEL = b"bench:latest"
_ASK = re.compile(rb"#(burst|paced) (\d+)(?: (\d+))?#")
_ASK_BYTES = 4096  # of a body, in which an ask stands; a large prompt is not read to its end
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CREATED = b'"created_at":"2026-08-21T12:00:00.123456789Z"'
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
_LAST_CHUNK = b"0\r\n\r\n"


def _reply(body: bytes, content_type: bytes = b"application/json; charset=utf-8") -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n"
    return head % (content_type, len(body)) + body


def _line(content: bytes, end: bytes) -> bytes:
    message = b'"message":{"role":"assistant","content":"%b"}' % content
    return b'{"model":"%b",%b,%b,%b}' % (MODEL, _CREATED, message, end)


def _end(tokens: int) -> bytes:
    counts = b'"prompt_eval_count":12,"prompt_eval_duration":10000000,"eval_count":%d,"eval_duration":90000000'
    return b'"done":true,"done_reason":"stop","total_duration":120000000,"load_duration":20000000,' + counts % tokens


def _chunk(line: bytes) -> bytes:
    return b"%x\r\n%b\n\r\n" % (len(line) + 1, line)


SMALL = _reply(_line(b"Eight small words are quite enough for this.", _end(8)))
TAGS = _reply(
    b'{"models":[{"name":"%b","model":"%b","modified_at":"2026-08-21T12:00:00Z","size":1,"digest":"%b","details":{}}]}'
    % (MODEL, MODEL, b"0" * 64)
)
OTHERS = {
    b"/api/tags": TAGS,
    b"/api/version": _reply(b'{"version":"0.33.0"}'),
    b"/api/show": _reply(
        b'{"template":"{{ .Prompt }}","system":"","details":{},"capabilities":["completion"],'
        b'"model_info":{"general.architecture":"llama","llama.context_length":131072}}'
    ),
    b"/": _reply(b"Ollama is running", b"text/plain"),
}


# of one length whatever the time is, so that the size of the chunk holds
_PACED = _chunk(_line(b" @%020d@" % 0, b'"done":false')).replace(b"%", b"%%").replace(b"0" * 20, b"%020d")


def burst(records: int) -> bytes:
    """A whole stream of so many tokens, as it is on the wire."""
    return (
        _STREAM_HEAD
        + _chunk(_line(b" amber", b'"done":false')) * records
        + _chunk(_line(b"", _end(records)))
        + _LAST_CHUNK
    )


@dataclass(slots=True)
class PacedStream:
    transport: asyncio.Transport
    left: int  # records
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
                stream.transport.write(_PACED % time.monotonic_ns())
                self.add(stream, tick + stream.gap_ms)
            elif not stream.transport.is_closing():
                stream.transport.write(_chunk(_line(b"", _end(1))) + _LAST_CHUNK)


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
            self._transport.write(_STREAM_HEAD)
            self._stream = PacedStream(self._transport, int(ask[2]), 1000 // int(ask[3] or 20))
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
