"""An authenticator over real stores, with everything that it does counted."""

import secrets
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import redis.asyncio

from neuronetz_gateway.counters.connection import BatchedRedis
from neuronetz_gateway.counters.key_cache import KeyCache
from neuronetz_gateway.db.database import Database
from neuronetz_gateway.domain.api_key import KeyCredential, PlainKey
from neuronetz_gateway.domain.identifier import uuid7
from neuronetz_gateway.domain.limit import Limits
from neuronetz_gateway.key_hashing import KeyHasher
from neuronetz_gateway.repositories.api_keys import KeyRecord
from neuronetz_gateway.services.api_keys import IssuedKey, KeyRegistry
from neuronetz_gateway.services.authentication import Authenticator
from neuronetz_gateway.services.background_work import BackgroundWork
from neuronetz_gateway.services.failure_counting import FailureCounter
from neuronetz_gateway.services.identity_cache import IdentityCache
from neuronetz_gateway.services.key_lookup import KeyLookup
from neuronetz_gateway.services.key_proving import KeyProver
from neuronetz_gateway.services.tenants import TenantRegistry
from neuronetz_gateway.services.verification_lane import VerificationLane
from tests.support.stores import Stores

PEPPER = b"a pepper of the tests, 32 bytes.."
ADDRESS = "192.0.2.1"


class Clock:
    """A monotonic clock that a test moves by hand."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


class CountingHasher(KeyHasher):
    """The real hasher; counts the runs of Argon2id and the comparisons of digests."""

    verifications = 0
    compares = 0

    def verify(self, key: PlainKey, secret_hash: str) -> bool:
        self.verifications += 1
        return super().verify(key, secret_hash)

    def matches(self, key: PlainKey, credential: KeyCredential) -> bool:
        self.compares += 1
        return super().matches(key, credential)

    def dummy_matches(self, key: PlainKey) -> bool:
        self.compares += 1
        return super().dummy_matches(key)


class CountingLookup(KeyLookup):
    """The real look-up; counts what it is asked, then what it reads."""

    finds = 0
    reads = 0
    batches = 0

    async def find(self, prefix: str, *, patient: bool = False) -> KeyRecord | None:
        self.finds += 1
        return await super().find(prefix, patient=patient)

    async def _records(self, prefixes: Iterable[str]) -> dict[str, KeyRecord | None]:
        self.batches += 1
        self.reads += len(prefixes := list(prefixes))
        return await super()._records(prefixes)


@dataclass(frozen=True)
class Given:
    """What a test may want otherwise than usual."""

    pepper: bytes = PEPPER
    previous_pepper: bytes | None = None
    memory_kib: int = 8
    queue: int = 16
    failures_per_minute: int = 1_000_000
    refusal_floor_seconds: float = 0.0
    beat_seconds: float = 0.01


USUAL = Given()


@dataclass
class Authentication:
    """One process of the gateway, as far as authentication goes."""

    authenticator: Authenticator
    keys: KeyRegistry
    tenants: TenantRegistry
    hasher: CountingHasher
    lookup: CountingLookup
    lane: VerificationLane
    cache: KeyCache
    background: BackgroundWork
    clock: Clock
    events: Counter[str] = field(default_factory=Counter)

    async def issued(self, tenant: str = "acme", limits: Limits | None = None) -> IssuedKey:
        """A tenant with one key."""
        await self.tenants.create(tenant, allow_all_models=True)
        return await self.keys.issue(tenant, "ci", limits=limits or Limits())


@asynccontextmanager
async def authentication(stores: Stores, given: Given = USUAL) -> AsyncIterator[Authentication]:
    """Like another process each time: it shares with the others what the stores hold, nothing else."""
    database = Database(
        stores.database_url,
        pool_size=5,
        connect_timeout_seconds=2,
        statement_timeout_seconds=5,
        lock_timeout_seconds=2,
    )
    client = redis.asyncio.Redis.from_url(stores.redis_url)
    connection = BatchedRedis(client, timeout_seconds=2)
    one = _assembled(database, connection, given)
    try:
        yield one
    finally:
        await one.authenticator.aclose()
        await one.lookup.aclose()
        await one.background.flush()
        await one.lane.aclose()
        await connection.aclose()
        await client.aclose()
        await database.aclose()


def _assembled(database: Database, connection: BatchedRedis, given: Given) -> Authentication:
    clock, events = Clock(), Counter[str]()

    def happened(event: str) -> None:
        events[event] += 1

    hasher = CountingHasher(
        given.pepper, given.previous_pepper, memory_kib=given.memory_kib, time_cost=1, parallelism=1
    )
    cache = KeyCache(
        connection, mac_key=hasher.mac_key, ttl_seconds=300, on_forged=lambda: happened("forged_cache_entry")
    )
    background = BackgroundWork(happened)
    lane = VerificationLane(hasher, threads=1, queue=given.queue)
    lookup = CountingLookup(database, timeout_seconds=10, clock=clock, beat_seconds=given.beat_seconds)
    identities = IdentityCache(
        cache,
        pepper_id=hasher.pepper_id,
        principal_ttl_seconds=60,
        clock=clock,
        happened=happened,
        background=background,
    )
    prover = KeyProver(database, hasher, lane, background=background, now=_now, happened=happened)
    authenticator = Authenticator(
        identities,
        lookup,
        prover,
        hasher=hasher,
        failures=FailureCounter(per_minute=given.failures_per_minute, clock=clock),
        clock=clock,
        refusal_floor_seconds=given.refusal_floor_seconds,
    )
    return Authentication(
        authenticator,
        KeyRegistry(database, hasher, choice=secrets.choice, now=_now, new_id=uuid7),
        TenantRegistry(database, defaults=Limits(), now=_now, new_id=uuid7),
        hasher,
        lookup,
        lane,
        cache,
        background,
        clock,
        events,
    )


def _now() -> datetime:
    return datetime.now(UTC)
