"""Whether a request may go ahead now, under the rate and concurrency limits of its key and tenant."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from uuid import UUID

from neuronetz_gateway.counters.admissions import Closing, Cold, Expired, Outdated, RateCounters, Refused, Verdict
from neuronetz_gateway.counters.closings import Closings
from neuronetz_gateway.counters.errors import CountersUnavailableError
from neuronetz_gateway.counters.leases import LeaseKeeper
from neuronetz_gateway.domain.admission import Admission
from neuronetz_gateway.domain.principal import Principal
from neuronetz_gateway.domain.standing import Standing
from neuronetz_gateway.errors import (
    GatewayError,
    RateLimitedError,
    RequestBeyondLimitError,
    StalePrincipalError,
    UnauthenticatedError,
    UnavailableError,
)

_UNITS = {"rpm": "requests a minute", "tpm": "tokens a minute", "concurrent": "requests at once"}


class LimitReachedError(RateLimitedError):
    """A limit of the key or its tenant fired; standing is what both have left, None where nothing is to be told."""

    settings_seconds = 0.1  # whoever is refused often would otherwise ask Postgres as often

    def __init__(self, message: str, *, limit: str, retry_after_seconds: float, standing: Standing | None) -> None:
        super().__init__(message, limit=limit, retry_after_seconds=retry_after_seconds)
        self.standing = standing


class RateLimiter:
    """Admits requests, closes admissions, keeps their leases alive.

    `warm` makes a tenant known to a Redis that does not know it. `jitter` yields figures in [0, 1): hints of when to
    come back are spread by it where no exact time is known.
    """

    def __init__(
        self,
        counters: RateCounters,
        *,
        warm: Callable[[Principal], Awaitable[None]],
        heartbeat_seconds: float = 5.0,
        jitter: Callable[[], float],
    ) -> None:
        self._counters = counters
        self._warm = warm
        self._jitter = jitter
        self._leases = LeaseKeeper(counters, heartbeat_seconds=heartbeat_seconds)
        self._closings = Closings(counters)

    @property
    def dropped_closings(self) -> int:
        """How many ends of admissions were given up; their leases ran out instead."""
        return self._closings.dropped

    @property
    def open_admissions(self) -> int:
        """How many admissions this process holds."""
        return len(self._leases)

    @property
    def running(self) -> tuple[Admission, ...]:
        """The admissions that this process holds, without those that are being cut."""
        return self._leases.held

    async def start(self) -> None:
        """Begins the heartbeats."""
        await self._leases.start()

    async def aclose(self) -> None:
        """Delivers pending closings, then stops the heartbeats."""
        try:
            await self._closings.aclose()
        finally:
            await self._leases.aclose()

    async def admit(self, principal: Principal, admission_id: UUID, estimate_tokens: int) -> Admission:
        """A place under every limit of key and tenant; the caller owns it until `close`.

        Raises LimitReachedError, RequestBeyondLimitError for what no window can hold, UnauthenticatedError for
        an expired key, StalePrincipalError where Redis was told of the tenant anew, UnavailableError. Whoever is
        cancelled here, or gets no answer, owns nothing: it is undone.
        """
        _check_estimate(principal, estimate_tokens)
        verdict = await self._ask(principal, admission_id, estimate_tokens)
        if isinstance(verdict, Cold):
            await self._warm(principal)
            verdict = await self._ask(principal, admission_id, estimate_tokens)
        match verdict:
            case Admission():
                self._leases.hold(verdict)
                return verdict
            case Refused():
                raise self._refusal(verdict)
            case Expired():
                raise UnauthenticatedError
            case Outdated():
                raise StalePrincipalError(
                    "The settings of this API key have just changed; please send the request again."
                )
            case Cold():
                raise UnavailableError("The rate limits are not available.", retry_after_seconds=self._hint())

    def close(self, admission: Admission, actual_tokens: int | None) -> None:
        """Ends an admission with the tokens it really took, None as if it had never been; only the first call counts.

        Returns at once; what Redis does not take now is repeated.
        """
        if self._leases.release(admission):
            self._closings.hand_over(Closing.of(admission, actual_tokens))

    def guard(self, admission: Admission, on_cut: Callable[[GatewayError], None]) -> GatewayError | None:
        """Names what stops the work of an admission: called once, with why, when its lease is found gone or it is cut.

        One that is cut already gives the reason instead: its work must not begin. After `close` nothing is called.
        """
        return self._leases.guard(admission, on_cut)

    def cut(self, where: Callable[[Admission], bool], error: Callable[[], GatewayError]) -> int:
        """Ends the running exchanges of this process that match, telling each caller its error; how many it is ending.

        Synchronous: each ends in a turn of its own. One that is only about to be forwarded is cut before it is.
        """
        return self._leases.cut(where, error)

    async def _ask(self, principal: Principal, admission_id: UUID, estimate_tokens: int) -> Verdict:
        try:
            return await self._counters.admit(principal, admission_id, estimate_tokens)
        except (asyncio.CancelledError, CountersUnavailableError) as error:
            self._closings.hand_over(
                Closing(admission_id, principal.tenant_id, principal.api_key_id, None, estimate_tokens, None)
            )
            if isinstance(error, CountersUnavailableError):
                error.retry_after_seconds = self._hint()
            raise

    def _refusal(self, refused: Refused) -> LimitReachedError:
        scope, _, axis = refused.limit.partition(".")
        # A place may become free at any moment, so only a spread hint can be given; a window's end is known exactly.
        wait = self._hint() if axis == "concurrent" else refused.retry_after_seconds
        return LimitReachedError(
            f"Rate limit reached for this {scope}: {_amount(refused.figure, axis)} ({refused.limit}); "
            f"{refused.left:,} left. Try again in {math.ceil(wait)} s.",
            limit=refused.limit,
            retry_after_seconds=wait,
            standing=refused.standing,
        )

    def _hint(self) -> float:
        """About a second."""
        return 0.5 + self._jitter()


def _amount(figure: int, axis: str) -> str:
    unit = _UNITS[axis]
    return f"{figure:,} {unit}" if figure != 1 else f"1 {unit.replace('s ', ' ', 1)}"


def _check_estimate(principal: Principal, estimate_tokens: int) -> None:
    """Raises RequestBeyondLimitError where a request is larger than a whole limit: it could never be admitted."""
    for limit, tpm in (("key.tpm", principal.key_limits.tpm), ("tenant.tpm", principal.tenant_limits.tpm)):
        if tpm is not None and estimate_tokens > tpm:
            raise RequestBeyondLimitError(
                f"This request may need {estimate_tokens:,} tokens, more than the {tpm:,} tokens a minute ({limit}) "
                "could ever hold. Lower max_tokens or shorten the prompt."
            )
