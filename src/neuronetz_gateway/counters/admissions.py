"""The counters behind rate and concurrency limits, each call one Lua script."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from neuronetz_gateway.counters.connection import BatchedRedis
from neuronetz_gateway.counters.errors import EvictingStoreError, unavailable
from neuronetz_gateway.counters.scripts import ADMIT, CLOSE, HEARTBEAT, LOOK
from neuronetz_gateway.domain.admission import Admission
from neuronetz_gateway.domain.limit import Limits
from neuronetz_gateway.domain.principal import Principal
from neuronetz_gateway.domain.standing import AxisStanding, Standing, WindowUse

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_MICROSECOND = timedelta(microseconds=1)
_UNDO = -1
_FIGURES = 5  # of each scope in the reply of look.lua


@dataclass(frozen=True, slots=True)
class Refused:
    """A limit fired: `limit` names it (key.rpm), `figure` is its value, `left` what it still had.

    standing tells of both axes; of the one that fired it is that of the scope that fired.
    """

    limit: str
    figure: int
    left: int
    retry_after_seconds: float
    standing: Standing | None = None


@dataclass(frozen=True, slots=True)
class Expired:
    """The key's time was over when the admission was asked for, by the clock of Redis."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What tenant and key hold at a moment, by the clock of Redis."""

    at: datetime
    tenant: WindowUse
    key: WindowUse


@dataclass(frozen=True, slots=True)
class Closing:
    """What ends an admission. actual_tokens None undoes it; admitted_at None means that its answer was never seen."""

    id: UUID
    tenant_id: UUID
    api_key_id: UUID
    admitted_at: datetime | None
    estimated_tokens: int
    actual_tokens: int | None

    @classmethod
    def of(cls, admission: Admission, actual_tokens: int | None) -> "Closing":
        """The end of a known admission."""
        return cls(
            admission.id,
            admission.tenant_id,
            admission.api_key_id,
            admission.admitted_at,
            admission.estimated_tokens,
            actual_tokens,
        )


class RateCounters:
    """Windows and leases of tenants and keys in Redis (DESIGN §4).

    The keys of one tenant share a hash tag. Every method raises CountersUnavailableError through what it returns.
    """

    def __init__(
        self, redis: BatchedRedis, *, window_seconds: int = 60, lease_seconds: float = 30.0, key_prefix: str = "nz"
    ) -> None:
        self._redis = redis
        self._window_seconds = window_seconds
        self._lease_microseconds = round(lease_seconds * 1_000_000)
        self._prefix = key_prefix

    async def admit(
        self, principal: Principal, admission_id: UUID, estimated_tokens: int
    ) -> Admission | Refused | Expired:
        """Admits a request or says why not; the same id again gets the same admission, counted once."""
        expires_at = 0 if principal.expires_at is None else (principal.expires_at - _EPOCH) // _MICROSECOND
        reply = await self._redis.run(
            ADMIT,
            (*self._keys(principal.tenant_id, principal.api_key_id, admission_id), self._since(principal.tenant_id)),
            self._window_seconds,
            admission_id.hex,
            estimated_tokens,
            expires_at,
            self._lease_microseconds,
            *_figures(principal.tenant_limits),
            *_figures(principal.key_limits),
        )
        match reply:
            case [b"admitted", int(now), int(), int(), int(), int(), int(), int()]:
                admitted_at = _moment(now)
                return Admission(
                    admission_id,
                    principal.tenant_id,
                    principal.api_key_id,
                    admitted_at,
                    estimated_tokens,
                    self._standing(admitted_at, reply),
                )
            case [b"refused", int(now), _, _, _, _, _, _, bytes(limit), int(figure), int(left), int(milliseconds)]:
                standing = self._standing(_moment(now), reply)
                return Refused(limit.decode(), figure, left, milliseconds / 1000, standing)
            case [b"expired"]:
                return Expired()
        raise unavailable(ValueError(f"The admission script answered {reply!r}."))

    async def look(self, tenant_id: UUID, api_key_id: UUID) -> Seen:
        """What tenant and key hold now, read as `admit` reads it; nothing is written."""
        keys = self._keys(tenant_id, api_key_id, api_key_id)[:4]
        reply = await self._redis.run(LOOK, keys, self._window_seconds)
        match reply:
            case [int(now), *figures] if len(figures) == 2 * _FIGURES and all(type(each) is int for each in figures):
                return Seen(_moment(now), self._use(now, figures[:_FIGURES]), self._use(now, figures[_FIGURES:]))
        raise unavailable(ValueError(f"The script that looks answered {reply!r}."))

    def close(self, closing: Closing) -> asyncio.Future[int]:
        """Frees the places and corrects the tokens; yields 1, or 0 where nothing was open. May be repeated."""
        admitted_at = closing.admitted_at
        return self._redis.run(
            CLOSE,
            self._keys(closing.tenant_id, closing.api_key_id, closing.id),
            closing.id.hex,
            0 if admitted_at is None else (admitted_at - _EPOCH) // _SECOND,
            closing.estimated_tokens,
            _UNDO if closing.actual_tokens is None else closing.actual_tokens,
            self._lease_microseconds,
        )

    async def heartbeat(self, tenant_id: UUID, admissions: Sequence[Admission]) -> list[Admission]:
        """Extends the leases of admissions of one tenant; returns those that are lost."""
        tenant = self._tenant(tenant_id)
        lost = await self._redis.run(
            HEARTBEAT,
            (
                self._since(tenant_id),
                f"{tenant}:leases",
                *(f"{tenant}:leases:{admission.api_key_id.hex}" for admission in admissions),
            ),
            self._lease_microseconds,
            *(
                part
                for admission in admissions
                for part in (admission.id.hex, (admission.admitted_at - _EPOCH) // _MICROSECOND)
            ),
        )
        try:
            return [admissions[position - 1] for position in lost]
        except (TypeError, IndexError) as error:
            raise unavailable(error) from error

    async def check_eviction_policy(self) -> None:
        """Raises EvictingStoreError unless the server keeps what it was given (maxmemory-policy noeviction)."""
        memory = await self._redis.call("INFO", "memory")
        fields = dict(line.partition(":")[::2] for line in str(memory, errors="replace").splitlines())
        policy = fields.get("maxmemory_policy", "unknown")
        if policy != "noeviction":
            raise EvictingStoreError(policy)

    def _standing(self, at: datetime, reply: Sequence[int]) -> Standing | None:
        """The standing that a reply of admit.lua tells of, None where there is no limit."""
        _, now, rpm, requests_left, newest_requests, tpm, tokens_left, newest_tokens = reply[:8]
        if rpm < 0 and tpm < 0:
            return None
        return Standing(
            self._axis(now, rpm, requests_left, newest_requests), self._axis(now, tpm, tokens_left, newest_tokens), at
        )

    def _axis(self, now: int, limit: int, left: int, newest: int) -> AxisStanding | None:
        return None if limit < 0 else AxisStanding(limit, left, self._reset_seconds(now, newest))

    def _use(self, now: int, figures: Sequence[int]) -> WindowUse:
        requests, newest_requests, tokens, newest_tokens, held = figures
        return WindowUse(
            requests, self._reset_seconds(now, newest_requests), tokens, self._reset_seconds(now, newest_tokens), held
        )

    def _reset_seconds(self, now: int, newest: int) -> float | None:
        """From `now` in microseconds until the bucket of a second leaves its window; see rates.lua for 0 and -1."""
        if newest <= 0:
            return 0.0 if newest == 0 else None
        return ((newest + self._window_seconds + 1) * 1_000_000 - now) / 1_000_000

    def _tenant(self, tenant_id: UUID) -> str:
        return f"{self._prefix}:{{{tenant_id.hex}}}"

    def _since(self, tenant_id: UUID) -> str:
        return f"{self._tenant(tenant_id)}:since"

    def _keys(self, tenant_id: UUID, api_key_id: UUID, admission_id: UUID) -> tuple[str, ...]:
        tenant, key = self._tenant(tenant_id), api_key_id.hex
        return (
            f"{tenant}:rates",
            f"{tenant}:rates:{key}",
            f"{tenant}:leases",
            f"{tenant}:leases:{key}",
            f"{tenant}:undone:{admission_id.hex}",
        )


def _moment(microseconds: int) -> datetime:
    """A time of Redis."""
    return _EPOCH + timedelta(microseconds=microseconds)


def _figures(limits: Limits) -> tuple[int, int, int]:
    """A scope's limits as the script takes them."""
    return (
        -1 if limits.rpm is None else limits.rpm,
        -1 if limits.tpm is None else limits.tpm,
        -1 if limits.concurrent is None else limits.concurrent,
    )
