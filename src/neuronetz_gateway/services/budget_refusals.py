"""What a caller is told of a reservation that was refused."""

from neuronetz_gateway.domain.budget import Period, ReservationAsk, Windows, window_end
from neuronetz_gateway.domain.principal import Principal
from neuronetz_gateway.errors import BudgetExceededError, StalePrincipalError, UnavailableError
from neuronetz_gateway.repositories.ledger import STALE, SWEPT, Verdict

_SCOPES = {"tenant": "this tenant", "key": "this API key"}


def refusal_of(
    principal: Principal, ask: ReservationAsk, windows: Windows, verdict: Verdict
) -> StalePrincipalError | BudgetExceededError | UnavailableError:
    """The error to raise for a verdict that grants nothing."""
    if verdict.refused_by == SWEPT:
        return UnavailableError("The budget ledger is not available.")
    if verdict.refused_by is None or verdict.refused_by == STALE:
        return StalePrincipalError("The settings of this API key have just changed; please send the request again.")
    scope, _, name = verdict.refused_by.partition(".")
    period = Period(name)
    limit_tokens, left_tokens = verdict.refused_limit_tokens or 0, verdict.refused_left_tokens or 0
    resets_at = window_end(windows.start(period), period, principal.time_zone)
    least_tokens = ask.prompt_bound_tokens + min(ask.output_wanted_tokens, 1)
    message = (
        f"The {period} token budget of {_SCOPES[scope]} has {left_tokens:,} of {limit_tokens:,} tokens left; this "
        f"request needs at least {least_tokens:,} (prompt up to {ask.prompt_bound_tokens:,}"
        f"{' + 1 of output' if ask.output_wanted_tokens else ''}) "
        f"and could take {ask.prompt_bound_tokens + ask.output_wanted_tokens:,}."
    )
    seconds: float | None = None
    if least_tokens > limit_tokens:  # no waiting would help
        message += " Not even the whole budget could hold it: shorten the prompt."
    elif resets_at is not None:
        message += f" It resets at {resets_at.isoformat()}."
        seconds = (resets_at - ask.admitted_at).total_seconds()
    return BudgetExceededError(message, limit=verdict.refused_by, retry_after_seconds=seconds)
