"""Step 6: bytes to Ollama and back, until the last one or until somebody leaves."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic

import httpx
import orjson
import structlog
from starlette.types import Receive, Scope, Send

from neuronetz_gateway.common_timer import CommonTimer
from neuronetz_gateway.domain.audit import Outcome
from neuronetz_gateway.errors import (
    AnswerUnreadableError,
    GatewayError,
    NotFoundError,
    OverloadedError,
    UpstreamBrokenError,
)
from neuronetz_gateway.http.caller_watch import LISTEN_AFTER_SECONDS, CallerWatch, RelayEndedError
from neuronetz_gateway.http.ending import (
    OK_STATUS,
    adjusted_of,
    end_from_outside,
    outcome_of,
    refused,
    start_response,
)
from neuronetz_gateway.http.exchange import Exchange, exchange_of
from neuronetz_gateway.http.passage import Passage, raw_stream
from neuronetz_gateway.http.upstream_errors import failure_of, refusal_of
from neuronetz_gateway.services.rate_limiting import RateLimiter
from neuronetz_gateway.surfaces.surface import Allows, Call
from neuronetz_gateway.upstream.client import Upstream

type Shows = Callable[[bytes, Call, Allows], bytes]

_MAX_SHOWN_BYTES = 32 * 1024 * 1024
_OFF_LOOP_BYTES = 256 * 1024  # rewriting more than this can hold the event loop for longer than a few ms
_MAX_ERROR_BYTES = 64 * 1024
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class InFlight:
    """How many exchanges are under way at the model server in this process, with the most that may be."""

    limit: int
    count: int = field(default=0, init=False)


class Relay:
    """The end of the chain: everything before it held, so now bytes go up (the sentence at the top of DESIGN)."""

    def __init__(self, upstream: Upstream, limiter: RateLimiter, in_flight: InFlight, *, total_seconds: float) -> None:
        self.upstream, self.limiter, self.in_flight = upstream, limiter, in_flight
        self.total_seconds, self.listening = total_seconds, CommonTimer(LISTEN_AFTER_SECONDS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = exchange_of(scope)
        if self.in_flight.count >= self.in_flight.limit:
            error = OverloadedError("The gateway is at its limit of requests under way (UPSTREAM_MAX_IN_FLIGHT).")
            raise refused(exchange, Outcome.NOT_FORWARDED, error)
        self.in_flight.count += 1
        try:
            with CallerWatch(receive, listening=self.listening, total_seconds=self.total_seconds) as watch:
                cut = self.limiter.guard(exchange.admission, lambda error: watch.end(Outcome.CUT, error))
                if cut is not None:
                    raise refused(exchange, Outcome.NOT_FORWARDED, cut)
                await self._relay(exchange, scope, send)
        except RelayEndedError as ended:
            await end_from_outside(exchange, ended, send)
        finally:
            self.in_flight.count -= 1

    async def _relay(self, exchange: Exchange, scope: Scope, send: Send) -> None:
        endpoint = exchange.endpoint

        def going_up() -> None:
            exchange.forwarded = True

        try:
            response = await self.upstream.open(
                endpoint.upstream_method, endpoint.upstream_path, _body(exchange), going_up, _trace_fields(exchange)
            )
        except httpx.TransportError as error:
            exchange.forwarded = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
            failure = failure_of(error)
            raise refused(exchange, outcome_of(failure, forwarded=exchange.forwarded), failure) from error
        going_up()  # also behind a transport that does not tell
        try:
            await _answer(exchange, response, scope, send)
        finally:
            self.upstream.abort(response)  # does nothing once the answer has been received whole


def _trace_fields(exchange: Exchange) -> Sequence[tuple[bytes, bytes]]:
    return () if exchange.trace is None else exchange.trace.fields(exchange.id)


def _body(exchange: Exchange) -> bytes:
    inference = exchange.endpoint.inference
    if inference is not None:
        return inference.write(exchange.call, exchange.reservation.granted_output_tokens)
    return orjson.dumps(exchange.call.body) if exchange.endpoint.asks else b""


async def _answer(exchange: Exchange, response: httpx.Response, scope: Scope, send: Send) -> None:
    exchange.first_byte_seconds = monotonic() - exchange.started_at
    exchange.adjusted, passage = adjusted_of(exchange), Passage(exchange, response, scope, send)
    exchange.let_body_go()
    if response.status_code != OK_STATUS:
        refusal = await _refusal(exchange, response)
        generated = isinstance(refusal, AnswerUnreadableError)
        raise refused(exchange, Outcome.UPSTREAM_BROKEN if generated else Outcome.UPSTREAM_REFUSED, refusal)
    if exchange.endpoint.shown is not None:
        await _send_shown(exchange, response, exchange.endpoint.shown, send)
    else:
        await passage.run()


async def _refusal(exchange: Exchange, response: httpx.Response) -> GatewayError:
    """What an error status is called; that it refused is known, even where its words are lost on the way."""
    try:
        body = await _received(response, _MAX_ERROR_BYTES)
    except httpx.TransportError:
        body = b""
    refusal = refusal_of(response.status_code, body, exchange.model)
    if isinstance(refusal, UpstreamBrokenError):  # the operator's to mend; its words may hold a prompt, so no log does
        _log.warning("model_server_refused", request_id=exchange.request_id, upstream_status=response.status_code)
    return refusal


async def _send_shown(exchange: Exchange, response: httpx.Response, shows: Shows, send: Send) -> None:
    try:
        body = await _received(response, _MAX_SHOWN_BYTES)
    except httpx.TransportError as error:
        raise refused(exchange, Outcome.UPSTREAM_BROKEN, failure_of(error)) from error
    allows = exchange.principal.allows
    try:
        if len(body) > _OFF_LOOP_BYTES:  # a vocabulary of /api/show alone may have ten megabytes
            shown = await asyncio.to_thread(shows, body, exchange.call, allows)
        else:
            shown = shows(body, exchange.call, allows)
    except NotFoundError as error:
        raise refused(exchange, Outcome.UPSTREAM_REFUSED, error) from None
    except UpstreamBrokenError as error:
        raise refused(exchange, Outcome.UPSTREAM_BROKEN, error) from None
    headers = [(b"content-type", b"application/json; charset=utf-8"), (b"content-length", b"%d" % len(shown))]
    await start_response(exchange, headers, send)
    exchange.outcome = Outcome.COMPLETED
    await send({"type": "http.response.body", "body": shown, "more_body": False})


async def _received(response: httpx.Response, limit_bytes: int) -> bytes:
    """A body up to a limit; what is longer comes back cut, which no parser takes for whole."""
    body = bytearray()
    async for chunk in raw_stream(response):
        body += chunk
        if len(body) > limit_bytes:
            break
    return bytes(body)
