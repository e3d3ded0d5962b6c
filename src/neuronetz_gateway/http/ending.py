"""How an exchange is begun towards its caller, ended badly, refused late."""

import asyncio
from contextlib import suppress

from starlette.types import Send

from neuronetz_gateway.domain.audit import Outcome
from neuronetz_gateway.errors import AnswerCutError, GatewayError, UpstreamBrokenError, UpstreamTimedOutError
from neuronetz_gateway.http.caller_watch import RelayEndedError
from neuronetz_gateway.http.exchange import Exchange

OK_STATUS = 200
_EVENT_SECONDS = 1.0


async def start_response(exchange: Exchange, headers: list[tuple[bytes, bytes]], send: Send) -> None:
    if exchange.adjusted:
        headers = [*headers, (b"x-gateway-adjusted", ",".join(exchange.adjusted).encode("ascii"))]
    if exchange.standing is not None:
        headers = [*headers, *exchange.endpoint.surface.limit_headers(exchange.standing)]
    await send({"type": "http.response.start", "status": OK_STATUS, "headers": headers})
    # Only now: whoever is ended while the head waits to be written may still be answered with a status.
    exchange.status, exchange.response_started = OK_STATUS, True


def adjusted_of(exchange: Exchange) -> tuple[str, ...]:
    """What of the request went up in another way than the caller had written it."""
    call, inference, reservation = exchange.call, exchange.endpoint.inference, exchange.known_reservation
    if inference is None or reservation is None or call.loads:
        return call.adjusted
    cap = inference.changed_cap(call, reservation.granted_output_tokens)
    return (*call.adjusted, cap) if cap else call.adjusted


async def send_error_event(exchange: Exchange, error: GatewayError, send: Send) -> None:
    """Say what happened in the surface's own words, then leave the answer unfinished: never a clean end (DESIGN §6).

    The server closes the connection of an unfinished answer. A whole JSON body has no room for an event: it just stops.
    For a caller who does not take what came before, nobody waits: its place would be held by somebody who is not there.
    """
    exchange.reason = error.code
    if not exchange.call.streamed:
        return
    event = exchange.record_end() + exchange.endpoint.surface.error_event(error, exchange.request_id)
    with suppress(TimeoutError):
        async with asyncio.timeout(_EVENT_SECONDS):
            await send({"type": "http.response.body", "body": event, "more_body": True})


async def end_from_outside(exchange: Exchange, ended: RelayEndedError, send: Send) -> None:
    """The caller has left, or the gateway ended the relay: say so to whoever still listens.

    Before a byte went up it is not forwarded, whoever ended it: nothing was asked of the model server (PROMISES D1).
    """
    exchange.outcome = outcome = ended.outcome if exchange.forwarded else Outcome.NOT_FORWARDED
    if ended.told is None:
        return
    if not exchange.response_started:
        raise refused(exchange, outcome, ended.told)
    await send_error_event(exchange, ended.told, send)


def refused[E: GatewayError](exchange: Exchange, outcome: Outcome, error: E) -> E:
    """Note on the exchange how it ended; give the error to raise."""
    exchange.outcome, exchange.status, exchange.reason = outcome, error.status, error.code
    return error


def outcome_of(failure: GatewayError, *, forwarded: bool) -> Outcome:
    if not forwarded:
        return Outcome.NOT_FORWARDED
    return Outcome.UPSTREAM_TIMED_OUT if isinstance(failure, UpstreamTimedOutError) else Outcome.UPSTREAM_BROKEN


def over_reservation() -> AnswerCutError:
    return AnswerCutError("The answer was cut by the gateway: it went past what was reserved for it.")


def failed_midway() -> UpstreamBrokenError:
    return UpstreamBrokenError("The model server failed before its answer was complete.")


def cut_short() -> UpstreamBrokenError:
    return UpstreamBrokenError("The model server ended its answer before it was complete.")
