"""Step 4: not too often, not too much, not too many at once."""

from starlette.types import ASGIApp, Receive, Scope, Send

from neuronetz_gateway.domain.audit import Outcome
from neuronetz_gateway.domain.limit import smaller
from neuronetz_gateway.http.exchange import Exchange, exchange_of
from neuronetz_gateway.services.rate_limiting import LimitReachedError, RateLimiter


class RateLimitMiddleware:
    def __init__(self, app: ASGIApp, *, limiter: RateLimiter, max_output_tokens: int) -> None:
        self.app, self.limiter, self.max_output_tokens = app, limiter, max_output_tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = exchange_of(scope)
        exchange.output_wanted_tokens = output_wanted(exchange, self.max_output_tokens)
        estimate = prompt_estimate(exchange) + exchange.output_wanted_tokens
        try:
            admission = await self.limiter.admit(exchange.principal, exchange.id, estimate)
        except LimitReachedError as error:
            exchange.standing = error.standing
            raise
        exchange.admission, exchange.standing = admission, admission.standing
        try:
            await self.app(scope, receive, send)
        finally:
            actual = actual_tokens(exchange)
            self.limiter.close(admission, actual)
            if admission.standing is not None and not exchange.response_started:
                # The refusal that follows tells what is left after it (L2).
                exchange.standing = admission.standing.ended(estimate, actual)


def prompt_estimate(exchange: Exchange) -> int:
    """About a third of the bound in bytes: what TPM holds until the actual figure is known (DESIGN §4)."""
    return exchange.call.prompt_bound_tokens // 3


def output_wanted(exchange: Exchange, default_tokens: int) -> int:
    """The output cap to ask the ledger for: what the caller asked, within the key's cap or the default.

    A caller who asked for none gets what its tokens a minute can hold, so that a small limit still serves.
    """
    asked, limits = exchange.call.output_asked_tokens, exchange.principal.limits
    cap = default_tokens if limits.output_cap is None else limits.output_cap
    if asked is not None:
        return min(asked, cap)
    room = None if limits.tpm is None else max(1, limits.tpm - prompt_estimate(exchange))
    return smaller(cap, room) or cap


def actual_tokens(exchange: Exchange) -> int | None:
    """What the admission really cost; None undoes it, since a request that never went up consumes nothing (L2)."""
    if exchange.outcome in {None, Outcome.NOT_FORWARDED} and not exchange.forwarded:
        return None
    return exchange.charge.total_tokens
