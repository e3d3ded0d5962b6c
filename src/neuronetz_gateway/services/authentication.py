"""Turning a presented key into a principal."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from neuronetz_gateway.domain.api_key import PlainKey
from neuronetz_gateway.domain.principal import Principal
from neuronetz_gateway.domain.tenant import TenantStatus
from neuronetz_gateway.errors import (
    GatewayError,
    OverloadedError,
    RateLimitedError,
    TenantSuspendedError,
    UnauthenticatedError,
)
from neuronetz_gateway.key_hashing import KeyHasher
from neuronetz_gateway.repositories.api_keys import KeyRecord
from neuronetz_gateway.services.bounded_memory import BoundedMemory
from neuronetz_gateway.services.failure_counting import FailureCounter
from neuronetz_gateway.services.identity import Identity, Proof
from neuronetz_gateway.services.identity_cache import IdentityCache
from neuronetz_gateway.services.key_lookup import KeyLookup
from neuronetz_gateway.services.key_proving import KeyProver
from neuronetz_gateway.services.verification_lane import LaneFullError

_REFUSED_CAPACITY = 10_000
_REFUSED_SECONDS = 2.0
_READ_CAPACITY = 10_000
_READ_SECONDS = 60.0
# What addresses that fail too often are told leaves later, spread over more than one beat of the look-up: answered
# together they would hold everybody else up at each beat.
_TIMES_LATER = 3


class _Refusal(Enum):
    WRONG_KEY = auto()
    SUSPENDED = auto()


@dataclass(frozen=True, slots=True)
class _Ask:
    """One well-formed key that this process does not know, on its way through the stores."""

    name: bytes
    key: PlainKey
    patient: bool
    fresh: bool


class Authenticator:
    """Looks a key up in this process, in Redis, in Postgres; the first that knows it decides (DESIGN §3).

    Refused keys are remembered for 2 s, in this process only: that is also how long a key may stay refused after it
    came to exist, which nobody can notice, since nobody can have presented it before. A refusal leaves one to two
    `refusal_floor_seconds` after its request came (of a blocked address later), so that an unknown prefix cannot be
    told from a wrong secret by the time that its look-up took. `clock` is monotonic, in seconds. Expiry is the
    limiter's to decide.
    """

    def __init__(
        self,
        identities: IdentityCache,
        lookup: KeyLookup,
        prover: KeyProver,
        *,
        hasher: KeyHasher,
        failures: FailureCounter,
        clock: Callable[[], float],
        refusal_floor_seconds: float = 0.02,
    ) -> None:
        self._identities = identities
        self._lookup = lookup
        self._prover = prover
        self._hasher = hasher
        self._failures = failures
        self._clock = clock
        self._refusal_floor_seconds = refusal_floor_seconds
        self._refused = BoundedMemory[bool](capacity=_REFUSED_CAPACITY, ttl_seconds=_REFUSED_SECONDS, clock=clock)
        self._read_at = BoundedMemory[float](capacity=_READ_CAPACITY, ttl_seconds=_READ_SECONDS, clock=clock)
        self._shared: dict[bytes, asyncio.Task[Principal | _Refusal]] = {}

    async def authenticate(self, presented: str | None, address: str, *, fresh: bool = False) -> Principal:
        """The principal of a presented key; `fresh` reads it from Postgres again, keeping its proof.

        Raises UnauthenticatedError (one answer for every bad key), TenantSuspendedError (the key is good),
        RateLimitedError (a bad key from an address with too many of them), OverloadedError (too many keys wait for
        Argon2id), UnavailableError (Postgres is away).
        """
        key = PlainKey.parse(presented) if presented else None
        if key is None:
            raise await self._refusal(address, self._clock() + self._refusal_floor_seconds)
        name = self._hasher.cache_name(key)
        if not fresh:
            principal = self._identities.principals.find(name)
            if principal is not None:
                return principal
        patient = self._failures.blocked_seconds(address) > 0
        return await self._look_up(_Ask(name, key, patient=patient, fresh=fresh), address)

    async def authenticate_anew(self, presented: str | None, address: str, *, within_seconds: float) -> Principal:
        """The principal as Postgres had it at most `within_seconds` ago, up to a minute; raises as authenticate."""
        key = PlainKey.parse(presented) if presented else None
        read_at = None if key is None else self._read_at.find(self._hasher.cache_name(key))
        recent = read_at is not None and self._clock() - read_at < within_seconds
        return await self.authenticate(presented, address, fresh=not recent)

    async def start(self) -> None:
        """Finds out before the first request whether this machine can run Argon2id; else raises UnavailableError."""
        await self._prover.start()

    async def aclose(self) -> None:
        """Waits for the look-ups under way, whose callers may have left; what they began is for others to flush."""
        if self._shared:
            await asyncio.wait(self._shared.values())

    async def _look_up(self, ask: _Ask, address: str) -> Principal:
        # A timer of the loop is exact to a millisecond; the rest would still tell of the look-up. What the name adds is
        # another for each key, unknown without the pepper, so that no repetition averages it out.
        floor_seconds = self._refusal_floor_seconds * (_TIMES_LATER if ask.patient else 1)
        leaves_at = self._clock() + floor_seconds * (1 + _fraction(ask))
        if ask.fresh:
            found = await self._identify(ask)
        elif self._refused.find(ask.name):
            found = _Refusal.WRONG_KEY
        else:
            found = await self._identify_once(ask)
        if found is _Refusal.WRONG_KEY:
            raise await self._refusal(address, leaves_at)
        if found is _Refusal.SUSPENDED:
            raise TenantSuspendedError("This tenant is suspended.")
        return found

    async def _identify_once(self, ask: _Ask) -> Principal | _Refusal:
        """Callers who bring one key at the same time share one look-up, which goes on when they leave."""
        task = self._shared.get(ask.name)
        if task is None:
            task = self._shared[ask.name] = asyncio.create_task(self._identify(ask), name="identify")
            task.add_done_callback(lambda _: self._shared.pop(ask.name))
        return await asyncio.shield(task)

    async def _identify(self, ask: _Ask) -> Principal | _Refusal:
        if not ask.fresh:
            identity = await self._identities.find_shared(ask.name, ask.key.prefix)
            if identity is not None:
                self._identities.remember(ask.name, identity)
                return identity.principal
        record = self._matching(ask.key, await self._lookup.find(ask.key.prefix, patient=ask.patient))
        return self._turned_away(ask) if record is None else await self._prove(ask, record)

    def _turned_away(self, ask: _Ask) -> _Refusal:
        self._refused.keep(ask.name, value=True)
        self._read_at.forget(ask.name)
        if ask.fresh:
            self._identities.forget_principal(ask.name)
        return _Refusal.WRONG_KEY

    def _matching(self, key: PlainKey, record: KeyRecord | None) -> KeyRecord | None:
        """The record if the key's digest is its own; every other key costs one digest compare, never Argon2id."""
        if record is None:
            self._hasher.dummy_matches(key)
            return None
        if not self._hasher.matches(key, record.credential) or record.revoked_at is not None:
            return None
        return record

    async def _prove(self, ask: _Ask, record: KeyRecord) -> Principal | _Refusal:
        proof = self._prover.proof_of(record.credential)
        try:
            proven = await self._has_proof(ask, proof)
            if not proven:
                proven = await self._prover.verify(ask.name, ask.key, record.credential)
        except LaneFullError:
            if not self._prover.was_proven(record.credential):
                raise OverloadedError(
                    "Too many keys are being verified.", retry_after_seconds=1 + _fraction(ask)
                ) from None
            return _verdict(record)  # for this once: remembered nowhere, so that the next use tries the lane again
        return self._accepted(ask, record, proof) if proven else self._turned_away(ask)

    async def _has_proof(self, ask: _Ask, proof: Proof) -> bool:
        if self._identities.proofs.find(ask.name) == proof:
            return True
        if not ask.fresh:
            return False  # the shared cache has been asked
        identity = await self._identities.find_shared(ask.name, ask.key.prefix)
        return identity is not None and identity.proof == proof

    def _accepted(self, ask: _Ask, record: KeyRecord, proof: Proof) -> Principal | _Refusal:
        principal = record.principal
        self._prover.record(
            ask.name,
            ask.key,
            record,
            on_renewed=lambda renewed: self._identities.renew(ask.name, Identity(principal, renewed)),
        )
        verdict = _verdict(record)
        if verdict is principal:
            self._read_at.keep(ask.name, self._clock())
            self._identities.share(ask.name, Identity(principal, proof))
        else:
            self._identities.proofs.keep(ask.name, proof)
            if ask.fresh:
                self._identities.forget_principal(ask.name)
        return verdict

    async def _refusal(self, address: str, leaves_at: float) -> GatewayError:
        """Counts a bad key; the answer, once it may leave."""
        blocked_seconds = self._failures.blocked_seconds(address)
        self._failures.add(address)
        await asyncio.sleep(max(0.0, leaves_at - self._clock()))
        if blocked_seconds <= 0:
            return UnauthenticatedError()
        return RateLimitedError(
            "Too many requests with invalid API keys from this address.",
            limit="address.failures",
            retry_after_seconds=blocked_seconds,
        )


def _verdict(record: KeyRecord) -> Principal | _Refusal:
    return _Refusal.SUSPENDED if record.tenant_status is TenantStatus.SUSPENDED else record.principal


def _fraction(ask: _Ask) -> float:
    """From 0 to 1, another for each key: spreads what would otherwise happen to all of them at the same time."""
    return int.from_bytes(ask.name[:4]) / 2**32
