"""One caller's HTTP/1.1 connection, within the bounds that uvicorn leaves open."""

import asyncio
from contextlib import suppress
from typing import Any, NoReturn, cast

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from neuronetz_gateway.errors import MalformedRequestError
from neuronetz_gateway.http.answer_cycle import AnswerCycle, describe
from neuronetz_gateway.http.caller_transport import CallerTransport
from neuronetz_gateway.http.malformed import break_off, refusal
from neuronetz_gateway.http.request_head import NO_REQUEST, check_head, failure_of, head_of, method_of
from neuronetz_gateway.http.serving_state import ServingState
from neuronetz_gateway.http.stall_watch import StallWatch
from neuronetz_gateway.http.unsent import bound_unsent
from neuronetz_gateway.upstream.timing import Deadline

_SHORT_HEAD_BYTES = 2 * 1024


class CallerConnection(HttpToolsProtocol):
    """uvicorn's own protocol, with a limit to whatever a caller may send or leave unread (DESIGN §7, PROMISES O3, S4).

    - What is no request of HTTP/1.1, or can be read in two ways, is refused here, the connection closed; nothing of it
      comes to the application (request_head.py, RFC 9112 §3, §6, §11).
    - A head has max_head_bytes, max_head_fields, head_seconds. What follows a body as trailers is dropped, since
      uvicorn would add it to the headers of a request whose proxy has already said from where it comes.
    - One request at a time: behind a second one uvicorn would not see the caller of the first one leave. The running
      answer is finished, then the connection is closed, so that whoever pipelined sends again (RFC 9112 §9.3.2).
    - No upgrade: the parser takes the body of such a request for the next request. Nothing after it is read.
    - Of a body that nobody wants any more, max_unread_bytes are taken within unread_seconds, also where the connection
      ends with the answer: with bytes unread here the kernel would drop the answer too (RFC 9112 §9.6).
    - Whoever is refused before `100 Continue` is told that the connection ends: it may send the body all the same,
      or the next request in its place (RFC 9110 §10.1.1).
    - A caller who takes nothing of what waits for it during stall_seconds is given up (stall_watch.py).
    - Of what waits, max_waiting_bytes stand here besides the last chunk, kernel_unsent_bytes in the kernel, the rest at
      the model server: two hundred who do not read are not to cost two hundred times the megabytes that Linux takes.
    """

    max_head_bytes = 64 * 1024
    max_head_fields = 100  # each is looked at several times, of 64 KiB there could be 16,000
    head_seconds = 10.0
    max_unread_bytes = 64 * 1024 * 1024  # four times the default limit of a body: who is a little over it reads the 413
    unread_seconds = 30.0
    stall_seconds = 60.0
    max_waiting_bytes = 8 * 1024
    kernel_unsent_bytes = 64 * 1024

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._serving = self.server_state if isinstance(self.server_state, ServingState) else ServingState()
        self._idle = Deadline(self.loop, self.loop.time, self.timeout_keep_alive_handler)
        self._deadline: asyncio.TimerHandle | None = None  # of a head, or of a body that nobody wants
        self._head_open = self._message_open = False
        self._came: list[bytes] = []  # the reads in which a head has come so far
        self._first = True  # whether that head began with its read, but for line breaks
        self._between = True  # whether this read began between two messages, with nothing of the next one parsed yet
        self._read = self.url = self._good_head = b""
        self._refused: MalformedRequestError | None = None
        self._keeps = True  # whether the connection outlives the request that is read
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
        self._wire = transport
        self._stall = StallWatch(transport, self.loop, self.stall_seconds)
        self._ends = CallerTransport(transport, self.loop, self._serving.turn, self._end)
        super().connection_made(self._ends)
        if len(self.connections) > self._serving.max_connections:
            self._serving.count_refusal("too_many_connections")
            self.transport.abort()
            return
        transport.set_write_buffer_limits(self.max_waiting_bytes)
        bound_unsent(transport, self.kernel_unsent_bytes)
        self._close_in(self.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._idle.cancel()
        del self._idle  # which holds this connection: what holds itself stays until a collection
        self._lift_deadline()
        self._stall.end()
        self._ends.lost()

    def data_received(self, data: bytes) -> None:
        if self._deaf or self.transport.is_closing():
            self._leave_unread(len(data))
        if self._deaf:
            return
        self._overhead_bytes += len(data)
        self._read, self._between = data, not self._message_open
        if self._head_open:
            self._came.append(data)
        super().data_received(data)
        if self.transport.is_closing():
            self._overhead_bytes = 0  # what is thrown away has a limit of its own
        elif self._overhead_bytes > self.max_head_bytes:
            self._refused = _too_large("bytes", self.max_head_bytes)
            self.send_400_response("")
        elif self._deadline is None and not self._busy:
            self._close_in(self.head_seconds)  # the start of a head, or line breaks that would put it off for ever

    def eof_received(self) -> None:
        """The caller sends no more: the loop closes once what waits has been taken, which nothing but this watches."""
        self._ends.flush()
        if self._wire.get_write_buffer_size():
            self._stall.begin()
            if self._busy:  # told now, as it is at once where nothing waits
                self.cycle.disconnected = True
                self.cycle.message_event.set()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stall.begin()

    def resume_writing(self) -> None:
        if not self.transport.is_closing():
            self._stall.end()
        super().resume_writing()

    # What the parser calls.

    def on_message_begin(self) -> None:
        self._head_open = self._message_open = True
        self._came, self._first, self._between = [self._read], self._between, False
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._head_open:
            return
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))
        if len(self.headers) > self.max_head_fields:
            self._refuse(_too_large("fields", self.max_head_fields))

    def on_headers_complete(self) -> None:
        if self._busy or self.transport.is_closing():
            self._head_open = False
            self.cycle.keep_alive = False
            self._deaf = True
            return
        method, version = self.parser.get_method(), self.parser.get_http_version()
        self._check_head(method, version)
        self._came = []
        self._head_open = False
        self._lift_deadline()
        self._overhead_bytes = self._unread_bytes = 0
        self._keeps = (
            self.parser.should_keep_alive()
            and version != "1.0"
            and not self._serving.draining
            and not self.parser.should_upgrade()
        )
        self._begin(method, version)

    def on_body(self, body: bytes) -> None:
        if self._deaf:
            return
        self._overhead_bytes = 0
        self._keep_where_promised()
        if self.cycle.response_complete and not self.transport.is_closing():
            self._leave_unread(len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._deaf:
            return
        self._overhead_bytes = 0
        self._message_open = False
        self._keep_where_promised()
        if self.cycle.response_complete:
            self._lift_deadline()
        if self.transport.is_closing():
            self._wire.close()
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
        self._serving.total_requests += 1
        if self.transport.is_closing():
            return
        self._idle.move(self.timeout_keep_alive)
        self.flow.resume_reading()
        if self._message_open:
            # What has begun behind the request that is answered now may be the head of the next one.
            self._close_in(self.head_seconds if self._head_open else self.unread_seconds)

    def _unset_keepalive_if_required(self) -> None:
        self._idle.move(None)

    def timeout_keep_alive_handler(self) -> None:
        self._ends.flush()  # of a process that stood still the timers come before what it was about to write
        self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Refuse what came; the parser goes no further, whatever follows."""
        del msg
        self._deaf = True
        in_body = self._message_open and not self._head_open
        if self._busy:
            self.cycle.keep_alive = False
            if in_body and not self.cycle.response_started:
                break_off(self.cycle, self._refused)
            # else what is no request stands behind one, which is answered first
        elif in_body:
            self._ends.flush()
            self._wire.close()  # a second answer would be taken for the one of the next request
        else:
            self._answer_malformed()

    # What follows from it.

    def _begin(self, method: bytes, version: str) -> None:
        """Hand the request to the application."""
        describe(cast("Scope", self.scope), method, version, self.url)
        self.cycle = AnswerCycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,  # AccessLog has it
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=self._keeps and not self.expect_100_continue,
            on_response=self.on_response_complete,
        )
        self._start_asgi_task(self.cycle, self.app)

    def _check_head(self, method: bytes, version: str) -> None:
        came = b"".join(self._came)
        if self._first and self._good_head and came.startswith(self._good_head):
            return  # byte for byte the head before, as programs send them
        try:
            head = head_of(came, method, self.url, version, first=self._first)
            if len(head) > self.max_head_bytes:
                raise _too_large("bytes", self.max_head_bytes)
            check_head(method, self.url, version, self.headers)
        except MalformedRequestError as error:
            self._refuse(error)
        # Of a head that came behind something else nobody knows for certain which bytes were its own.
        known = self._first and version == "1.1" and len(head) <= _SHORT_HEAD_BYTES
        self._good_head = head if known else b""
        if version == "1.0":
            self.expect_100_continue = False  # RFC 9110 §10.1.1: it would not understand the answer

    def _keep_where_promised(self) -> None:
        """The body comes, though nobody has asked for it: nothing in doubt follows the answer then."""
        if self.expect_100_continue and not self.cycle.response_started:
            self.cycle.keep_alive = self._keeps and not self._serving.draining

    def _refuse(self, error: MalformedRequestError) -> NoReturn:
        """End the parser from within one of its callbacks; it then asks for the refusal (send_400_response)."""
        self._refused = error
        raise error

    def _answer_malformed(self) -> None:
        came = b"".join(self._came) or self._read
        if not (self._first if self._came else self._between):
            came = b""  # it begins with the rest of a body, which is nothing to judge, still less to log
        error = self._refused or (failure_of(came) if came else MalformedRequestError(NO_REQUEST))
        headers, target = (self.headers, self.url) if self._head_open else ([], b"")
        scope: Scope = {"client": self.client, "headers": headers, "method": method_of(came)}
        answer = refusal(error, scope, target, self.server_state.default_headers)
        self._serving.count_refusal(error.code)
        self.transport.write(answer)
        self.transport.close()

    def _end(self) -> None:
        """Close once what waits has been taken; whoever may still be sending is read meanwhile, and not kept."""
        if self._wire.get_write_buffer_size():
            self._stall.begin()
        if self._wire.is_closing() or not (self._message_open or self._deaf):
            self._wire.close()
            return
        with suppress(OSError):  # the caller is gone, which is told in its time
            self._wire.write_eof()
        self.flow.resume_reading()
        self._close_in(self.unread_seconds)

    def _leave_unread(self, length: int) -> None:
        self._unread_bytes += length
        if self._unread_bytes > self.max_unread_bytes:
            self.transport.abort()

    def _close_in(self, seconds: float) -> None:
        self._lift_deadline()
        self._deadline = self.loop.call_later(seconds, self._wire.abort)

    def _lift_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def _too_large(what: str, limit: int) -> MalformedRequestError:
    return MalformedRequestError(f"The head of the request has more than {limit} {what}.", status=431)
