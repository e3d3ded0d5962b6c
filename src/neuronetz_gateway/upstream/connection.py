"""One HTTP/1.1 connection to the upstream."""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

import httpx

from neuronetz_gateway.upstream.framing import ResponseParser
from neuronetz_gateway.upstream.reply import Reply
from neuronetz_gateway.upstream.request import Origin, RequestHead
from neuronetz_gateway.upstream.timing import Deadline, SilenceError, Timeouts

_WRITE_SLICE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What holds for every connection of a pool.

    A reply holds at most max_buffered_bytes that nobody has read; past a third of it the socket is left unread.
    """

    max_head_bytes: int
    max_buffered_bytes: int
    idle_expiry_seconds: float


class Owner(Protocol):
    """What a connection tells its pool."""

    def idle(self, connection: "Connection") -> None: ...
    def unusable(self, connection: "Connection") -> None: ...
    def lost(self, connection: "Connection") -> None: ...


class Connection(asyncio.BufferedProtocol):
    """One exchange at a time; idle in its pool between two; aborted, never pooled, unless both sides ended cleanly."""

    _transport: asyncio.Transport

    def __init__(
        self,
        origin: Origin,
        owner: Owner,
        limits: ConnectionLimits,
        read_buffer: memoryview,
        clock: Callable[[], float],
    ) -> None:
        self.origin = origin
        self._owner = owner
        self._pause_at_bytes = limits.max_buffered_bytes // 3
        self._idle_expiry_seconds = limits.idle_expiry_seconds
        self._read_buffer = read_buffer
        self._parser = ResponseParser(limits.max_head_bytes)
        self._deadline = Deadline(asyncio.get_running_loop(), clock, self._deadline_passed)
        self._reply: Reply | None = None
        self._progress_seconds: float | None = None
        self._request_sent = False
        self._reading_paused = False
        self._writing_paused = False

    @property
    def usable(self) -> bool:
        """Whether an idle connection may serve again, as far as can be known before writing to it."""
        return not self._transport.is_closing() and not self._deadline.passed

    async def exchange(self, head: RequestHead, body: bytes, timeouts: Timeouts) -> Reply:
        """Send the request, then wait for the head of the answer.

        Raises httpx.WriteTimeout, ReadTimeout, ReadError, RemoteProtocolError. However it ends but well, a cancel
        included, the connection is aborted.
        """
        reply = self._reply = Reply(self)
        self._parser.expect(reply, to_head_request=head.method == "HEAD")
        self._progress_seconds = timeouts.progress_seconds
        self._request_sent = False
        try:
            await self._send(reply, head.framed(len(body)), body, timeouts.upload_stall_seconds)
            if not reply.status:
                self._deadline.move(timeouts.first_byte_seconds)
            while not reply.status:
                await reply.changed()
        except BaseException:
            reply.abort()
            raise
        return reply

    async def _send(self, reply: Reply, head: bytes, body: bytes, stall_seconds: float | None) -> None:
        if len(body) <= _WRITE_SLICE_BYTES:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            rest = memoryview(body)
            while rest:
                self._transport.write(rest[:_WRITE_SLICE_BYTES])
                rest = rest[_WRITE_SLICE_BYTES:]
                self._deadline.move(stall_seconds)
                while self._writing_paused and not reply.status:
                    await reply.changed()
                if reply.status:  # answered before the end of the upload: the rest is not wanted
                    return
        self._request_sent = True

    def abort(self) -> None:
        """Close at once, dropping what is unread or unsent."""
        self._fail(httpx.ReadError, "the exchange was aborted")

    def resume_reading(self) -> None:
        """The reader has made room."""
        if self._reading_paused:
            self._reading_paused = False
            self._transport.resume_reading()
            if self._reply is not None:
                self._deadline.move(self._progress_seconds)

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are so in all but their bases
        raw_socket = transport.get_extra_info("socket")
        if raw_socket is not None:
            raw_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            raw_socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the event loop's signature
        return self._read_buffer

    def buffer_updated(self, nbytes: int) -> None:
        reply = self._reply
        if reply is None:  # an idle connection on which anything arrives is not to be trusted
            self.abort()
            return
        try:
            progress = self._parser.feed(self._read_buffer[:nbytes])
        except httpx.RemoteProtocolError as error:
            if reply.complete:
                reply.reusable = False
                self._finish(reply)
            else:
                self._fail(httpx.RemoteProtocolError, str(error))
            return
        if reply.complete:
            self._finish(reply)
        elif progress:
            # More than a few records may be many reads' worth of work: a turn of the loop for each, whoever takes them.
            reply.arrived(at_once=len(reply.body) <= self._pause_at_bytes)
            if self._reply is reply:  # whoever took it may have given it up
                self._pace(reply)

    def eof_received(self) -> None:
        reply = self._reply
        if reply is not None and reply.ends_with_connection:
            reply.complete = True
            self._finish(reply)
        else:
            self._fail(httpx.RemoteProtocolError, "the upstream closed the connection before the end of its answer")

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(httpx.ReadError, f"the connection to the upstream was lost: {exc}")
        self._owner.lost(self)

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        if self._reply is not None:
            self._reply.wake()

    # What follows from it.

    def _pace(self, reply: Reply) -> None:
        """Leave the socket unread while the reader is behind, which is no fault of the upstream's."""
        if len(reply.body) <= self._pause_at_bytes:
            self._deadline.move(self._progress_seconds)
        elif not self._reading_paused:
            self._reading_paused = True
            self._transport.pause_reading()
            self._deadline.move(None)

    def _finish(self, reply: Reply) -> None:
        self._reply = None
        reply.release()
        if reply.reusable and self._request_sent and not self._transport.get_write_buffer_size():
            self.resume_reading()
            self._deadline.move(self._idle_expiry_seconds)
            self._owner.idle(self)
        else:
            self.abort()

    def _fail(self, kind: type[httpx.TransportError], message: str) -> None:
        reply, self._reply = self._reply, None
        self._deadline.cancel()
        self._owner.unusable(self)
        self._transport.abort()
        if reply is not None:
            reply.fail(kind, message)

    def _deadline_passed(self) -> None:
        if self._reply is None:  # idle for long enough
            self.abort()
        elif self._reply.status:
            self._fail(SilenceError, "the upstream fell silent within its answer")
        elif self._request_sent:
            self._fail(httpx.ReadTimeout, "the upstream did not begin to answer in time")
        else:
            self._fail(httpx.WriteTimeout, "the upstream did not take the request in time")
