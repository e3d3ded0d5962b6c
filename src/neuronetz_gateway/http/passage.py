"""One answer of the model server passing through to its caller."""

import httpx
from starlette.types import Scope, Send

from neuronetz_gateway.domain.audit import Outcome
from neuronetz_gateway.errors import GatewayError
from neuronetz_gateway.http.direct_writer import DirectWriter, writer_of
from neuronetz_gateway.http.ending import (
    cut_short,
    failed_midway,
    outcome_of,
    over_reservation,
    refused,
    send_error_event,
    start_response,
)
from neuronetz_gateway.http.exchange import Exchange
from neuronetz_gateway.http.upstream_errors import failure_of
from neuronetz_gateway.surfaces.surface import Meter, StreamEditor
from neuronetz_gateway.surfaces.whole_records import WholeRecords
from neuronetz_gateway.upstream.headers import response_headers
from neuronetz_gateway.upstream.reply import Reply

_LONGEST_END = 4  # bytes that end a record; of what was sent no more is kept, since its caller may be slow to take it


def raw_stream(response: httpx.Response) -> httpx.AsyncByteStream:
    """The raw bytes as they arrive, without httpx's own wrappers around them."""
    if not isinstance(response.stream, httpx.AsyncByteStream):
        raise TypeError("the transport gave no asynchronous stream")
    return response.stream


class Passage:
    """Every chunk is metered, edited where the gateway had asked for more than its caller, sent on at once.

    A stream is handed on in whole records, so that an error event can follow at any moment. Only of an answer that is
    one body the last chunk waits for the verdict: with its last byte a length is fulfilled, after which nothing could
    tell the caller that the answer was broken (PROMISES S3).
    """

    def __init__(self, exchange: Exchange, response: httpx.Response, scope: Scope, send: Send) -> None:
        inference = exchange.endpoint.inference
        self.exchange, self.response, self.scope, self.send = exchange, response, scope, send
        self.writer: DirectWriter | None = None
        self.meter: Meter | None = inference.new_meter(exchange.call) if inference else None
        self.editor: StreamEditor | None = inference.new_editor(exchange.call) if inference else None
        self.records = WholeRecords(exchange.endpoint.surface.record_end) if exchange.call.streamed else None
        self.last_shown = self.held = self.waiting = b""
        self.over = False  # it went past its reservation
        exchange.record_end = self._record_end
        self.granted = exchange.reservation.granted_output_tokens

    async def run(self) -> None:
        if self.exchange.call.streamed:
            await self._start()
            self.writer = writer_of(self.scope)
        try:
            whole = await self._pass_all()
        except httpx.TransportError as error:
            failure = failure_of(error)
            await self._break(outcome_of(failure, forwarded=True), failure)
            return
        finally:
            self._read_meter()
        if whole:
            await self._finish()
        else:
            await self._break(Outcome.CUT, over_reservation())

    async def _pass_all(self) -> bool:
        """False where the answer went past its reservation: its upstream is then given up."""
        stream = raw_stream(self.response)
        if self.writer is not None and isinstance(stream, Reply):
            while not await stream.hand_to(self._write_at_once):
                if self.over:
                    return False
                await self._forward(self.waiting)
            return True
        async for chunk in stream:
            shown = self._shown_of(chunk)
            if self.over:
                return False
            if shown:
                await self._forward(shown)
        return True

    def _write_at_once(self, chunk: bytes) -> bool:
        """Whether that was all: else the answer is over, or what is `waiting` has to be sent, which takes a while."""
        shown = self._shown_of(chunk)
        if not shown:
            return not self.over
        if self.writer is not None and self.writer.write(shown):
            self.last_shown = shown[-_LONGEST_END:]
            return True
        self.waiting = shown
        return False

    def _shown_of(self, chunk: bytes) -> bytes:
        """What may leave now that this has come; nothing once it is over."""
        if self.meter is not None:
            self.meter.feed(chunk)
            if self.meter.counted_output > self.granted:
                self.over = True
                return b""
        passed = self.records.feed(chunk) if self.records is not None else chunk
        return passed if self.editor is None else self._edited(passed)

    def _edited(self, passed: bytes) -> bytes:
        return self.editor.feed(passed) if self.editor is not None and passed else passed

    async def _start(self) -> None:
        if self.exchange.response_started:
            return
        headers = response_headers(self.response)
        if self.exchange.call.streamed:  # an edited stream is shorter, one that breaks off longer than it was told
            headers = [pair for pair in headers if pair[0] != b"content-length"]
        await start_response(self.exchange, headers, self.send)

    async def _forward(self, shown: bytes) -> None:
        if not self.exchange.call.streamed:
            shown, self.held = self.held, shown
            if not shown:
                return
            await self._start()
        await self.send({"type": "http.response.body", "body": shown, "more_body": True})
        self.last_shown = shown[-_LONGEST_END:]  # only now: a wait that is cancelled has sent nothing

    async def _finish(self) -> None:
        reading = self.exchange.reading
        if self.meter is not None and (reading.failed or not reading.terminated):
            # Ollama ends a broken stream like a whole one; its terminator is the only proof (OLLAMA §3.5).
            await self._break(Outcome.UPSTREAM_BROKEN, failed_midway() if reading.failed else cut_short())
            return
        await self._start()
        self.exchange.outcome = Outcome.COMPLETED
        await self.send({"type": "http.response.body", "body": self.held or self._rest(), "more_body": False})

    async def _break(self, outcome: Outcome, error: GatewayError) -> None:
        if not self.exchange.response_started:
            raise refused(self.exchange, outcome, error)
        self.exchange.outcome = outcome
        await send_error_event(self.exchange, error, self.send)

    def _record_end(self) -> bytes:
        """What ends a record that was too long to be held, so that the error event stands in one of its own."""
        end = self.exchange.endpoint.surface.record_end
        return b"" if not self.last_shown or self.last_shown.endswith(end) else end

    def _rest(self) -> bytes:
        """What a stream that ended well has after its last record."""
        rest = self._edited(self.records.rest() if self.records is not None else b"")
        return rest + self.editor.flush() if self.editor is not None else rest

    def _read_meter(self) -> None:
        if self.meter is not None:
            self.exchange.reading = self.meter.reading()
