"""Verified keys near at hand: first in this process, then in the store that all processes share."""

from collections.abc import Callable

from neuronetz_gateway.counters.key_cache import KeyCache
from neuronetz_gateway.domain.principal import Principal
from neuronetz_gateway.errors import UnavailableError
from neuronetz_gateway.services.background_work import BackgroundWork
from neuronetz_gateway.services.bounded_memory import BoundedMemory
from neuronetz_gateway.services.identity import Identity, Proof, decoded, encoded


class IdentityCache:
    """Principals and proofs by the cache name of a whole key, remembered apart: a stale principal keeps its proof.

    A principal is remembered for `principal_ttl_seconds`; a proof has no term, since it is bound to the stored hash
    against which it was made. Where the shared store (Redis) is away nothing is found in it, which is counted: Postgres
    decides. `pepper_id` is that of the current pepper, `clock` monotonic, in seconds.
    """

    def __init__(
        self,
        shared: KeyCache,
        *,
        pepper_id: str,
        principal_ttl_seconds: float,
        clock: Callable[[], float],
        happened: Callable[[str], None],
        background: BackgroundWork,
        capacity: int = 10_000,
    ) -> None:
        self._shared = shared
        self._pepper_id = pepper_id
        self._happened = happened
        self._background = background
        self.principals = BoundedMemory[Principal](capacity=capacity, ttl_seconds=principal_ttl_seconds, clock=clock)
        self.proofs = BoundedMemory[Proof](capacity=capacity, ttl_seconds=float("inf"), clock=clock)

    async def find_shared(self, name: bytes, prefix: str) -> Identity | None:
        """What another process has verified; None for nothing, for anything odd or where the store is away."""
        try:
            payload = await self._shared.find(name)
        except UnavailableError:
            self._happened("key_cache_unavailable")
            return None
        if payload is None:
            return None
        identity = decoded(payload)
        if identity is None or identity.proof.pepper_id != self._pepper_id or identity.principal.key_prefix != prefix:
            self._happened("odd_cache_entry")
            return None
        return identity

    def remember(self, name: bytes, identity: Identity) -> None:
        """Keeps a verified key in this process."""
        self.principals.keep(name, identity.principal)
        self.proofs.keep(name, identity.proof)

    def share(self, name: bytes, identity: Identity) -> None:
        """Keeps a verified key for all processes; not in the way of the caller."""
        self.remember(name, identity)
        self._background.start(self._shared.store(name, encoded(identity)), failing="key_cache_write_failed")

    def renew(self, name: bytes, identity: Identity) -> None:
        """Puts a new proof in the place of the old one, beside the principal if that is still the one remembered."""
        if self.principals.find(name) == identity.principal:
            self.share(name, identity)
        else:
            self.proofs.keep(name, identity.proof)

    def forget_principal(self, name: bytes) -> None:
        """Drops the principal here, then the shared entry; the proof that this process has stays."""
        self.principals.forget(name)
        self._background.start(self._shared.forget(name), failing="key_cache_write_failed")
