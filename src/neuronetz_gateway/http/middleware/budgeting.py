"""Step 5: tokens reserved going in, settled coming out."""

from time import monotonic

from starlette.types import ASGIApp, Receive, Scope, Send

from neuronetz_gateway.domain.audit import Outcome, Settlement
from neuronetz_gateway.domain.budget import ReservationAsk
from neuronetz_gateway.domain.usage import NOTHING, Charge, charge_of
from neuronetz_gateway.http.exchange import Exchange, exchange_of
from neuronetz_gateway.services.budgeting import BudgetLedger

_FREE = frozenset({Outcome.NOT_FORWARDED, Outcome.UPSTREAM_REFUSED})
_CALLER_LEFT_STATUS = 499  # nginx's word in logs for a caller who left before any status was sent


class BudgetMiddleware:
    def __init__(self, app: ASGIApp, *, ledger: BudgetLedger) -> None:
        self.app, self.ledger = app, ledger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = exchange_of(scope)
        exchange.reservation = await self.ledger.reserve(exchange.principal, ask_of(exchange))
        exchange.body = b""  # from here on nobody reads it once more
        try:
            await self.app(scope, receive, send)
        finally:
            # Synchronous on purpose: a native cancel would go through any shield around an await (DESIGN §1).
            self.ledger.settle(settlement_of(exchange))


def ask_of(exchange: Exchange) -> ReservationAsk:
    return ReservationAsk(
        id=exchange.id,
        prompt_bound_tokens=exchange.call.prompt_bound_tokens,
        output_wanted_tokens=exchange.output_wanted_tokens,
        model=exchange.model,
        endpoint=exchange.endpoint.path,
        request_id=exchange.request_id,
        address=exchange.address,
        user_agent=exchange.user_agent,
        admitted_at=exchange.admission.admitted_at,
        estimated_tokens=exchange.admission.estimated_tokens,
    )


def settlement_of(exchange: Exchange) -> Settlement:
    """How the request ended; an end that nobody named is a cut if bytes went up, else not forwarded."""
    if exchange.outcome is None:
        exchange.outcome = Outcome.CUT if exchange.forwarded else Outcome.NOT_FORWARDED
    exchange.charge = _charge(exchange, exchange.outcome)
    return Settlement(
        reservation_id=exchange.reservation.id,
        outcome=exchange.outcome,
        status=exchange.status or _CALLER_LEFT_STATUS,
        charge=exchange.charge,
        first_byte_seconds=exchange.first_byte_seconds,
        duration_seconds=monotonic() - exchange.started_at,
    )


def _charge(exchange: Exchange, outcome: Outcome) -> Charge:
    inference = exchange.endpoint.inference
    if inference is None or exchange.call.loads or outcome in _FREE or not exchange.forwarded:
        return NOTHING
    reservation = exchange.reservation
    return charge_of(
        exchange.reading,
        reservation.prompt_bound_tokens,
        has_output=inference.has_output,
        uncounted_output_tokens=0 if exchange.call.streamed else reservation.granted_output_tokens,
        granted_output_tokens=reservation.granted_output_tokens,
    )
