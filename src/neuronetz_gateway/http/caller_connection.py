"""One caller's HTTP/1.1 connection, within the bounds that uvicorn leaves open."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from neuronetz_gateway.http.unsent import bound_unsent, reset, untaken_bytes

_LOOKS_A_STALL = 10


class _HeadTooLargeError(Exception):
    """Ends the parser from within one of its callbacks."""


class ServingState(ServerState):
    """What all connections of one server share."""

    draining = False  # whoever is served now is served for the last time on its connection


class CallerConnection(HttpToolsProtocol):
    """uvicorn's own protocol, with a limit to whatever a caller may send or leave unread (DESIGN §7, PROMISES O3, S4).

    - A head has max_head_bytes and head_seconds; what follows a body as trailers is dropped, since uvicorn would add
      it to the headers of a request whose proxy has already said from where it comes.
    - One request at a time: behind a second one uvicorn would not see the caller of the first one leave. The running
      answer is finished, then the connection is closed, so that whoever pipelined sends again (RFC 9112 §9.3.2).
    - No upgrade: the parser takes the body of such a request for the next request. Nothing after it is read.
    - Of a body that nobody wants any more, max_unread_bytes are taken within unread_seconds.
    - A caller who takes nothing of what waits for it during stall_seconds is given up; to the tenth of them, by what
      its own system has acknowledged, so that one who reads slowly is told from one who does not read.
    - Of what waits, max_waiting_bytes stand here besides the last chunk, kernel_unsent_bytes in the kernel, the rest at
      the model server: two hundred who do not read are not to cost two hundred times the megabytes that Linux takes.
    """

    max_head_bytes = 64 * 1024
    head_seconds = 10.0
    max_unread_bytes = 64 * 1024 * 1024  # four times the default limit of a body: who is a little over it reads the 413
    unread_seconds = 30.0
    stall_seconds = 60.0
    max_waiting_bytes = 8 * 1024
    kernel_unsent_bytes = 64 * 1024

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._serving = self.server_state if isinstance(self.server_state, ServingState) else ServingState()
        self._deadline: asyncio.TimerHandle | None = None  # of a head, or of a body that nobody wants
        self._stall: asyncio.TimerHandle | None = None
        self._untaken_bytes = 0  # by the last look at a caller who is slow
        self._taken_at = 0.0
        self._head_open = self._message_open = False
        self._head_too_large = False
        self._deaf = False  # whatever comes now is no request of ours
        self._overhead_bytes = 0  # since the last byte that was not of a head, a trailer or a chunk's framing
        self._unread_bytes = 0

    @property
    def _busy(self) -> bool:
        """Whether a request is being answered."""
        cycle: RequestResponseCycle | None = self.cycle  # none before the first request, whatever uvicorn's types say
        return cycle is not None and not cycle.response_complete

    # What the event loop calls.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's own signature
        super().connection_made(transport)
        transport.set_write_buffer_limits(self.max_waiting_bytes)
        bound_unsent(transport, self.kernel_unsent_bytes)
        self._close_in(self.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lift_deadline()
        self._end_stall()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            self._leave_unread(len(data))
            return
        self._overhead_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._overhead_bytes > self.max_head_bytes:
            self._head_too_large = True
            self.send_400_response("")
        elif self._deadline is None and not self._busy:
            self._close_in(self.head_seconds)  # the start of a head, or line breaks that would put it off for ever

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_for_stall()

    def resume_writing(self) -> None:
        self._end_stall()
        super().resume_writing()

    # What the parser calls.

    def on_message_begin(self) -> None:
        self._head_open = self._message_open = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head_open:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._head_open = False
        if self._busy:
            self.cycle.keep_alive = False
            self._deaf = True
            return
        if len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > self.max_head_bytes:
            self._head_too_large = True
            raise _HeadTooLargeError
        self._lift_deadline()
        self._overhead_bytes = self._unread_bytes = 0
        super().on_headers_complete()
        if self._serving.draining or self.parser.should_upgrade():
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        if self._deaf:
            return
        self._overhead_bytes = 0
        if self.cycle.response_complete:
            self._leave_unread(len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._deaf:
            return
        self._overhead_bytes = 0
        self._message_open = False
        if self.cycle.response_complete:
            self._lift_deadline()
        super().on_message_complete()

    # What uvicorn calls.

    def _should_upgrade(self) -> bool:
        return False

    def _unsupported_upgrade_warning(self) -> None:
        """The parser stops at the end of a head that asks for an upgrade."""
        self._deaf = True

    def turn_away(self) -> None:
        """The server has begun to end: an answer that has not begun says that it is the last one here.

        One that has begun cannot; whoever then asks again is served, and told (on_headers_complete).
        """
        if self._busy and not self.cycle.response_started:
            self.cycle.keep_alive = False

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            if self.transport.get_write_buffer_size():
                self._watch_for_stall()
        elif self._message_open:
            self._close_in(self.unread_seconds)

    def timeout_keep_alive_handler(self) -> None:
        self.transport.abort()  # instead of waiting until the caller has read the rest

    def send_400_response(self, msg: str) -> None:
        if self._busy and self.cycle.response_started:
            self.transport.close()  # a status line amidst another answer would be taken for a part of it
        elif self._head_too_large:
            self.transport.write(
                b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            )
            self.transport.close()
        else:
            super().send_400_response(msg)

    # What follows from it.

    def _leave_unread(self, length: int) -> None:
        self._unread_bytes += length
        if self._unread_bytes > self.max_unread_bytes:
            self.transport.abort()

    def _close_in(self, seconds: float) -> None:
        self._lift_deadline()
        self._deadline = self.loop.call_later(seconds, self.transport.abort)

    def _lift_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _watch_for_stall(self) -> None:
        if self._stall is None:
            self._untaken_bytes, self._taken_at = untaken_bytes(self.transport), self.loop.time()
            self._look_again()

    def _look_again(self) -> None:
        self._stall = self.loop.call_later(self.stall_seconds / _LOOKS_A_STALL, self._look_for_stall)

    def _look_for_stall(self) -> None:
        before, self._untaken_bytes = self._untaken_bytes, untaken_bytes(self.transport)
        if self._untaken_bytes < before:
            self._taken_at = self.loop.time()
        elif self.loop.time() - self._taken_at >= self.stall_seconds:
            reset(self.transport)
            return
        self._look_again()

    def _end_stall(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None
