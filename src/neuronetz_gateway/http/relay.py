"""Step 6: bytes to Ollama and back, until the last one or until somebody leaves."""

from dataclasses import dataclass, field
from time import monotonic

import httpx
from starlette.types import Receive, Scope, Send

from neuronetz_gateway.domain.audit import Outcome
from neuronetz_gateway.errors import GatewayError, OverloadedError, UpstreamBrokenError, UpstreamTimedOutError
from neuronetz_gateway.http.caller_watch import CallerWatch, RelayEndedError
from neuronetz_gateway.http.exchange import Exchange, exchange_of
from neuronetz_gateway.http.upstream_errors import failure_of, refusal_of
from neuronetz_gateway.services.rate_limiting import RateLimiter
from neuronetz_gateway.surfaces.surface import Meter, StreamEditor
from neuronetz_gateway.upstream.client import Upstream
from neuronetz_gateway.upstream.headers import response_headers

_OK = 200
_MAX_LISTING_BYTES = 32 * 1024 * 1024
_MAX_ERROR_BYTES = 64 * 1024
_BUSY_RETRY_SECONDS = 1.0


@dataclass(slots=True)
class InFlight:
    """How many exchanges are under way at the model server in this process, with the most that may be."""

    limit: int
    count: int = field(default=0, init=False)


class Relay:
    """The end of the chain: everything before it held, so now bytes go up (the sentence at the top of DESIGN)."""

    def __init__(
        self, upstream: Upstream, limiter: RateLimiter, in_flight: InFlight, *, total_seconds: float
    ) -> None:
        self.upstream, self.limiter, self.in_flight = upstream, limiter, in_flight
        self.total_seconds = total_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = exchange_of(scope)
        if self.in_flight.count >= self.in_flight.limit:
            raise _refused(exchange, Outcome.NOT_FORWARDED, _busy())
        self.in_flight.count += 1
        try:
            with CallerWatch(receive, total_seconds=self.total_seconds) as watch:
                self.limiter.guard(exchange.admission, lambda: watch.end(Outcome.CUT))
                await self._relay(exchange, send)
        except RelayEndedError as ended:
            exchange.outcome = ended.outcome
            await _end_from_outside(exchange, ended.outcome, send)
        finally:
            self.in_flight.count -= 1

    async def _relay(self, exchange: Exchange, send: Send) -> None:
        exchange.forwarded = True
        try:
            response = await self.upstream.open(exchange.endpoint.method, exchange.endpoint.path, _body(exchange))
        except httpx.TransportError as error:
            exchange.forwarded = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
            failure = failure_of(error)
            raise _refused(exchange, _outcome_of(failure, forwarded=exchange.forwarded), failure) from error
        try:
            await self._answer(exchange, response, send)
        finally:
            self.upstream.abort(response)  # does nothing once the answer has been received whole

    async def _answer(self, exchange: Exchange, response: httpx.Response, send: Send) -> None:
        exchange.first_byte_seconds = monotonic() - exchange.started_at
        if response.status_code != _OK:
            body = await _whole(exchange, response, _MAX_ERROR_BYTES)
            raise _refused(exchange, Outcome.UPSTREAM_REFUSED, refusal_of(response.status_code, body))
        if exchange.endpoint.filtered is not None:
            return await _send_listing(exchange, response, send)
        await _Passage(exchange, response, send).run()


class _Passage:
    """One answer passing through: metered, edited where the gateway had asked for more than its caller, sent on."""

    def __init__(self, exchange: Exchange, response: httpx.Response, send: Send) -> None:
        inference = exchange.endpoint.inference
        self.exchange, self.response, self.send = exchange, response, send
        self.meter: Meter | None = inference.new_meter(exchange.call) if inference else None
        self.editor: StreamEditor | None = inference.new_editor(exchange.call) if inference else None
        self.granted = exchange.reservation.granted_output_tokens

    async def run(self) -> None:
        await self._start()
        try:
            async for chunk in _stream(self.response):
                await self._pass(chunk)
                if self._over_reservation():
                    return await self._break(Outcome.CUT, _over())
        except httpx.TransportError as error:
            failure = failure_of(error)
            return await self._break(_outcome_of(failure, forwarded=True), failure)
        finally:
            self._read_meter()
        await self._finish()

    async def _start(self) -> None:
        headers = response_headers(self.response)
        if self.editor is not None:
            headers = [pair for pair in headers if pair[0] != b"content-length"]
        await _start_response(self.exchange, headers, self.send)

    async def _pass(self, chunk: bytes) -> None:
        if self.meter is not None:
            self.meter.feed(chunk)
        if self.editor is not None:
            chunk = self.editor.feed(chunk)
        if chunk:
            await self.send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def _finish(self) -> None:
        reading = self.exchange.reading
        if self.meter is not None and (reading.failed or not reading.terminated):
            # Ollama ends a broken stream like a whole one; its terminator is the only proof (OLLAMA §3.5).
            return await self._break(Outcome.UPSTREAM_BROKEN, _cut_short())
        self.exchange.outcome = Outcome.COMPLETED
        rest = self.editor.flush() if self.editor is not None else b""
        await self.send({"type": "http.response.body", "body": rest, "more_body": False})

    async def _break(self, outcome: Outcome, error: GatewayError) -> None:
        """Say what happened in the surface's own words, then leave the answer unfinished: never a clean end."""
        self.exchange.outcome = outcome
        rest = self.editor.flush() if self.editor is not None else b""
        await _send_error_event(self.exchange, error, self.send, before=rest)

    def _over_reservation(self) -> bool:
        return self.meter is not None and self.meter.counted_output > self.granted

    def _read_meter(self) -> None:
        if self.meter is not None:
            self.exchange.reading = self.meter.reading()


def _body(exchange: Exchange) -> bytes:
    inference = exchange.endpoint.inference
    return inference.write(exchange.call, exchange.reservation.granted_output_tokens) if inference else b""


def _stream(response: httpx.Response) -> httpx.AsyncByteStream:
    """The raw bytes as they arrive, without httpx's own wrappers around them."""
    if not isinstance(response.stream, httpx.AsyncByteStream):
        raise TypeError("the transport gave no asynchronous stream")
    return response.stream


async def _whole(exchange: Exchange, response: httpx.Response, limit_bytes: int) -> bytes:
    body = bytearray()
    try:
        async for chunk in _stream(response):
            body += chunk
            if len(body) > limit_bytes:
                break
    except httpx.TransportError as error:
        raise _refused(exchange, Outcome.UPSTREAM_BROKEN, failure_of(error)) from error
    return bytes(body)


async def _send_listing(exchange: Exchange, response: httpx.Response, send: Send) -> None:
    filtered = exchange.endpoint.filtered
    body = await _whole(exchange, response, _MAX_LISTING_BYTES)
    try:
        shown = filtered(body, exchange.principal.allows) if filtered else body
    except ValueError as error:
        raise _refused(exchange, Outcome.UPSTREAM_BROKEN, _cut_short()) from error
    headers = [(b"content-type", b"application/json; charset=utf-8"), (b"content-length", b"%d" % len(shown))]
    await _start_response(exchange, headers, send)
    exchange.outcome = Outcome.COMPLETED
    await send({"type": "http.response.body", "body": shown, "more_body": False})


async def _start_response(exchange: Exchange, headers: list[tuple[bytes, bytes]], send: Send) -> None:
    if exchange.call.adjusted:
        headers.append((b"x-gateway-adjusted", ",".join(exchange.call.adjusted).encode("ascii")))
    exchange.status, exchange.response_started = _OK, True
    await send({"type": "http.response.start", "status": _OK, "headers": headers})


async def _end_from_outside(exchange: Exchange, outcome: Outcome, send: Send) -> None:
    """The caller has left, or the gateway ended the relay: say so to whoever still listens."""
    if outcome is Outcome.CALLER_LEFT:
        return
    error = _over() if outcome is Outcome.CUT else UpstreamTimedOutError("The request took longer than it may.")
    if not exchange.response_started:
        raise _refused(exchange, outcome, error)
    await _send_error_event(exchange, error, send)


async def _send_error_event(exchange: Exchange, error: GatewayError, send: Send, *, before: bytes = b"") -> None:
    exchange.reason = error.code
    event = exchange.endpoint.surface.error_event(error, exchange.request_id) if exchange.call.streamed else b""
    if before or event:
        await send({"type": "http.response.body", "body": before + event, "more_body": True})


def _refused[E: GatewayError](exchange: Exchange, outcome: Outcome, error: E) -> E:
    exchange.outcome, exchange.status, exchange.reason = outcome, error.status, error.code
    return error


def _outcome_of(failure: GatewayError, *, forwarded: bool) -> Outcome:
    if not forwarded:
        return Outcome.NOT_FORWARDED
    return Outcome.UPSTREAM_TIMED_OUT if isinstance(failure, UpstreamTimedOutError) else Outcome.UPSTREAM_BROKEN


def _busy() -> OverloadedError:
    return OverloadedError("The gateway is at its limit of requests under way.", retry_after_seconds=_BUSY_RETRY_SECONDS)


def _over() -> UpstreamBrokenError:
    return UpstreamBrokenError("The answer was cut by the gateway: it went past what was reserved for it.")


def _cut_short() -> UpstreamBrokenError:
    return UpstreamBrokenError("The model server ended its answer before it was complete.")
