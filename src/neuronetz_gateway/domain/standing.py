"""How much of its limits a scope has left."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from neuronetz_gateway.domain.limit import Limits


class AxisStanding(NamedTuple):
    """A limit with what is left of it in the running window.

    reset_seconds is how long it takes until all of it is left again if nothing more is asked: until the newest of what
    is counted has left its window; 0 where nothing is counted, None where it cannot be known exactly.
    """

    limit: int
    left: int
    reset_seconds: float | None

    def given_back(self, amount: int, *, empties: bool) -> "AxisStanding":
        """The same with `amount` no longer counted; `empties` says that nothing of its own bucket may be left.

        What is older than that bucket is not known here, so that only an axis with all of it left has a reset then.
        """
        left = min(self.limit, max(0, self.left + amount))
        if not empties:
            return AxisStanding(self.limit, left, self.reset_seconds)
        return AxisStanding(self.limit, left, 0.0 if left == self.limit else None)


class Standing(NamedTuple):
    """What is left of requests and tokens a minute, None without a limit, at a moment of Redis's clock.

    Each axis is of the scope (key or tenant) that has the least left of it, which therefore is the one that binds.
    """

    requests: AxisStanding | None
    tokens: AxisStanding | None
    at: datetime

    def ended(self, estimated_tokens: int, actual_tokens: int | None) -> "Standing":
        """The same figures once a request that they count has ended with the tokens it really took.

        None is a request that was undone: it is counted on no axis (PROMISES L2).
        """
        requests, tokens = self.requests, self.tokens
        if requests is not None and actual_tokens is None:
            requests = requests.given_back(1, empties=True)
        freed_tokens = estimated_tokens - (actual_tokens or 0)
        if tokens is not None and freed_tokens != 0:
            tokens = tokens.given_back(freed_tokens, empties=not actual_tokens)
        return Standing(requests, tokens, self.at)


@dataclass(frozen=True, slots=True)
class WindowUse:
    """What one scope holds now: requests and tokens of its window, requests under way.

    The seconds are those until requests and tokens are back at nothing, as in AxisStanding.
    """

    requests: int
    requests_reset_seconds: float | None
    tokens: int
    tokens_reset_seconds: float | None
    concurrent: int

    def held_against(self, limits: Limits) -> "ScopeStanding":
        """The use held against the limits of the same scope."""
        return ScopeStanding(
            rpm=_axis(limits.rpm, self.requests, self.requests_reset_seconds),
            tpm=_axis(limits.tpm, self.tokens, self.tokens_reset_seconds),
            concurrent=_axis(limits.concurrent, self.concurrent, None),
            output_cap=limits.output_cap,
        )


@dataclass(frozen=True, slots=True)
class ScopeStanding:
    """Every limit of one scope with what is left of it, None without a limit.

    When a place under `concurrent` becomes free is known to nobody, so that it has no reset.
    """

    rpm: AxisStanding | None
    tpm: AxisStanding | None
    concurrent: AxisStanding | None
    output_cap: int | None


def _axis(limit: int | None, used: int, reset_seconds: float | None) -> AxisStanding | None:
    return None if limit is None else AxisStanding(limit, max(0, limit - used), reset_seconds)
