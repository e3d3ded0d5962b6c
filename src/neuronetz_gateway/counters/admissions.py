"""The counters behind rate and concurrency limits, each call one Lua script."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import NamedTuple
from uuid import UUID

from neuronetz_gateway.counters.connection import BatchedRedis
from neuronetz_gateway.counters.errors import CountersUnavailableError, EvictingStoreError, unavailable
from neuronetz_gateway.counters.names import KeyNames, NamesOfKey
from neuronetz_gateway.counters.rebuild_arguments import rebuild_arguments
from neuronetz_gateway.counters.scripts import ADMIT, BEGIN_REBUILD, CLOSE, HEARTBEAT, LOOK, REBUILD
from neuronetz_gateway.counters.server_facts import check_eviction_policy
from neuronetz_gateway.domain.admission import Admission
from neuronetz_gateway.domain.limit import Limits
from neuronetz_gateway.domain.principal import Principal
from neuronetz_gateway.domain.rate_history import RateHistory
from neuronetz_gateway.domain.standing import AxisStanding, Standing, WindowUse

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_MICROSECOND = timedelta(microseconds=1)
_UNDO = -1
_MOST_NAMES = 10_000  # keys whose names are remembered
_MILLISECONDS = 1000
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
class Cold:
    """The server does not know the tenant: it was flushed, restarted, or is another one. Nothing is admitted then."""


@dataclass(frozen=True, slots=True)
class Outdated:
    """The principal was read before its tenant was rebuilt, so that the ledger would not have it: read it anew."""


class RebuildNotBegun(Enum):
    """Why a tenant is not to be rebuilt now; the values are those of begin_rebuild.lua."""

    WARM = 0
    UNDER_WAY = -1  # somebody else does it


type Verdict = Admission | Refused | Expired | Cold | Outdated


@dataclass(frozen=True, slots=True)
class Seen:
    """What tenant and key hold at a moment, by the clock of Redis."""

    at: datetime
    tenant: WindowUse
    key: WindowUse


class Closing(NamedTuple):
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

    Every method raises CountersUnavailableError through what it returns.
    """

    def __init__(
        self, redis: BatchedRedis, *, window_seconds: int = 60, lease_seconds: float = 30.0, key_prefix: str = "nz"
    ) -> None:
        self._redis = redis
        self._window_seconds = window_seconds
        self._lease_microseconds = round(lease_seconds * 1_000_000)
        self._names = KeyNames(key_prefix)
        self._of_keys: dict[UUID, NamesOfKey] = {}  # writing them anew took a fiftieth of a request

    async def admit(self, principal: Principal, admission_id: UUID, estimated_tokens: int) -> Verdict:
        """Admits a request or says why not; the same id again gets the same admission, counted once."""
        expires_at = 0 if principal.expires_at is None else (principal.expires_at - _EPOCH) // _MICROSECOND
        admission = admission_id.hex
        reply = await self._redis.run(
            ADMIT,
            self._keys(principal.tenant_id, principal.api_key_id, admission),
            self._window_seconds,
            admission,
            estimated_tokens,
            expires_at,
            self._lease_microseconds,
            *_figures(principal.tenant_limits),
            *_figures(principal.key_limits),
            principal.tenant_version,
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
            case [b"cold"]:
                return Cold()
            case [b"stale"]:
                return Outdated()
        raise unavailable(ValueError(f"The admission script answered {reply!r}."))

    async def look(self, tenant_id: UUID, api_key_id: UUID) -> Seen | Cold:
        """What tenant and key hold now, read as `admit` reads it; nothing is written."""
        keys = (*self._names.rates_and_leases(tenant_id, api_key_id), self._names.warm(tenant_id))
        reply = await self._redis.run(LOOK, keys, self._window_seconds)
        match reply:
            case [b"cold"]:
                return Cold()
            case [int(now), *figures] if len(figures) == 2 * _FIGURES and all(type(each) is int for each in figures):
                return Seen(_moment(now), self._use(now, figures[:_FIGURES]), self._use(now, figures[_FIGURES:]))
        raise unavailable(ValueError(f"The script that looks answered {reply!r}."))

    def close(self, closing: Closing) -> asyncio.Future[int]:
        """Frees the places and corrects the tokens; yields 1, or 0 where nothing was open. May be repeated."""
        admitted_at, admission = closing.admitted_at, closing.id.hex
        return self._redis.run(
            CLOSE,
            self._keys(closing.tenant_id, closing.api_key_id, admission),
            admission,
            0 if admitted_at is None else (admitted_at - _EPOCH) // _SECOND,
            closing.estimated_tokens,
            _UNDO if closing.actual_tokens is None else closing.actual_tokens,
            self._lease_microseconds,
        )

    async def heartbeat(self, tenant_id: UUID, admissions: Sequence[Admission]) -> list[Admission]:
        """Extends the leases of admissions of one tenant; returns those that are lost."""
        if not admissions:
            return []
        leases = [self._names.rates_and_leases(tenant_id, admission.api_key_id)[2:] for admission in admissions]
        lost = await self._redis.run(
            HEARTBEAT,
            (self._names.warm(tenant_id), leases[0][0], *(of_key for _, of_key in leases)),
            self._lease_microseconds,
            *(admission.id.hex for admission in admissions),
        )
        try:
            return [admissions[position - 1] for position in lost]
        except (TypeError, IndexError) as error:
            raise unavailable(error) from error

    async def begin_rebuild(
        self, tenant_id: UUID, rebuild_id: UUID, *, within_seconds: float
    ) -> datetime | RebuildNotBegun:
        """From when on the ledger has to be read for a cold tenant: what was admitted before counts no more.

        The rebuild has to be finished `within_seconds`, or it is given up for another.
        """
        keys = (self._names.warm(tenant_id), self._names.rebuild(tenant_id))
        now = await self._redis.run(BEGIN_REBUILD, keys, rebuild_id.hex, round(within_seconds * _MILLISECONDS))
        if type(now) is not int:
            raise unavailable(ValueError(f"The script that begins a rebuild answered {now!r}."))
        return RebuildNotBegun(now) if now <= 0 else _moment(now) - (self._window_seconds + 1) * _SECOND

    async def finish_rebuild(self, tenant_id: UUID, rebuild_id: UUID, version: int, history: RateHistory) -> bool:
        """Makes a tenant warm with what the ledger remembers of it; principals of an earlier version are outdated then.

        False where this rebuild took too long or the server lost its memory since it began: nothing is written.
        """
        keys, arguments = rebuild_arguments(self._names, tenant_id, history)
        written = await self._redis.run(
            REBUILD, keys, self._window_seconds, self._lease_microseconds, rebuild_id.hex, version, *arguments
        )
        return bool(written == 1)

    async def check_eviction_policy(self) -> None:
        """Raises EvictingStoreError unless the server keeps what it was given (maxmemory-policy noeviction)."""
        try:
            check_eviction_policy(await self._redis.call("INFO", "memory"))
        except CountersUnavailableError as error:
            if isinstance(error.__cause__, EvictingStoreError):  # no connection is opened to such a server
                raise error.__cause__ from None
            raise

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

    def _keys(self, tenant_id: UUID, api_key_id: UUID, admission: str) -> tuple[str, ...]:
        """`admission` is its id in hexadecimal digits."""
        names = self._of_keys.get(api_key_id)
        if names is None:
            if len(self._of_keys) >= _MOST_NAMES:
                self._of_keys.clear()
            names = self._of_keys[api_key_id] = self._names.of_key(tenant_id, api_key_id)
        return (*names.rates_and_leases, names.ended + admission, names.warm)


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
