"""The writing end of a connection to the fake Ollama."""

import asyncio
import socket
import struct
from http import HTTPStatus

from tests.support.fake_ollama_metadata import Reply
from tests.support.fake_ollama_script import Fault, Script

# net/http buffers so much of a body; what fits has a Content-Length, what does not is chunked.
GO_BUFFER_BYTES = 2048
DATE = "Fri, 21 Aug 2026 12:00:00 GMT"
DRIP_SECONDS = 0.05
_LINGER_ZERO = struct.pack("ii", 1, 0)
_CHUNKED = ("Transfer-Encoding", "chunked")


class SocketWire:
    """Frames an answer, every record as a chunk of its own; waits where the caller does not read."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._writable = asyncio.Event()
        self._writable.set()
        self._script = Script()
        self._bodyless = False
        self.last = False  # the connection is closed after this answer

    def begin(self, script: Script, *, bodyless: bool, last: bool) -> None:
        """The next answer is due."""
        self._script, self._bodyless, self.last = script, bodyless, last

    def pause(self) -> None:
        self._writable.clear()

    def resume(self) -> None:
        self._writable.set()

    async def head(self, status: int, content_type: str, headers: tuple[tuple[str, str], ...]) -> None:
        await self._write(self._head(status, content_type, (*headers, _CHUNKED)))

    async def record(self, payload: bytes) -> None:
        if payload:
            await self._write(b"%x\r\n%b\r\n" % (len(payload), payload))

    async def end_of_records(self) -> None:
        await self._write(b"0\r\n\r\n")

    async def whole(self, reply: Reply) -> None:
        delta = self._script.content_length_delta
        if len(reply.body) > GO_BUFFER_BYTES and not delta and not self._bodyless:
            await self.head(reply.status, reply.content_type, reply.headers)
            await self.record(reply.body)
            await self.end_of_records()
            return
        self.last = self.last or delta > 0
        body = b"" if self._bodyless else reply.body
        await self._write(self._sized_head(reply, len(reply.body) + delta) + body)

    async def break_off(self, fault: Fault, payload: bytes, *, head: Reply | None) -> None:
        """Play a fault below HTTP; `head` announces the body that is broken, None means within a chunk."""
        if fault is Fault.HANG:
            await asyncio.Event().wait()
        self.last = True
        if fault is Fault.RESET:
            self._reset()
        elif fault is Fault.GARBAGE_FRAMING:
            await self._write(b"\x00\xfenonsense\r\n\r\n")
        elif fault is Fault.CLOSE_MID_CHUNK:
            start = b"%x\r\n" % len(payload) if head is None else self._sized_head(head, len(payload))
            await self._write(start + payload[: len(payload) // 2])

    def _reset(self) -> None:
        connected: socket.socket = self._transport.get_extra_info("socket")
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        self._transport.abort()

    def _sized_head(self, reply: Reply, length: int) -> bytes:
        return self._head(reply.status, reply.content_type, (*reply.headers, ("Content-Length", str(max(0, length)))))

    def _head(self, status: int, content_type: str, headers: tuple[tuple[str, str], ...]) -> bytes:
        phrase = HTTPStatus(status).phrase if status in HTTPStatus else "Status"
        lines = [f"HTTP/1.1 {status} {phrase}", f"Content-Type: {content_type}", f"Date: {DATE}"]
        lines += [f"{name}: {value}" for name, value in headers]
        if self.last:
            lines.append("Connection: close")
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    async def _write(self, data: bytes) -> None:
        rate = self._script.bytes_per_second
        step = max(1, int(rate * DRIP_SECONDS)) if rate else len(data)
        for start in range(0, len(data), step):
            self._transport.write(data[start : start + step])
            if rate:
                await asyncio.sleep(step / rate)
        await self._writable.wait()
