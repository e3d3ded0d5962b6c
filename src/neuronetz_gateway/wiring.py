"""Every service, built once from the settings, for the app as for the command line."""

import random
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

import httpx
import structlog
from redis.asyncio import Redis

from neuronetz_gateway.counters.admissions import RateCounters
from neuronetz_gateway.counters.connection import BatchedRedis
from neuronetz_gateway.counters.errors import CountersUnavailableError, EvictingStoreError
from neuronetz_gateway.counters.key_cache import KeyCache
from neuronetz_gateway.db.database import Database
from neuronetz_gateway.db.opening import database_of, reporting_of
from neuronetz_gateway.domain.identifier import uuid7
from neuronetz_gateway.errors import UnavailableError
from neuronetz_gateway.key_hashing import KeyHasher
from neuronetz_gateway.observability.metrics import Metrics
from neuronetz_gateway.repositories.admitted_requests import AdmittedRequests
from neuronetz_gateway.repositories.ledger import Ledger
from neuronetz_gateway.services.account import AccountReader
from neuronetz_gateway.services.adjusting import UsageAdjuster
from neuronetz_gateway.services.api_keys import KeyRegistry
from neuronetz_gateway.services.audit_building import AuditServices, audit_services
from neuronetz_gateway.services.audit_reading import AuditReader
from neuronetz_gateway.services.authentication import Authenticator
from neuronetz_gateway.services.background_work import BackgroundWork
from neuronetz_gateway.services.budgeting import BudgetLedger
from neuronetz_gateway.services.budgets import BudgetRegistry
from neuronetz_gateway.services.failure_counting import FailureCounter
from neuronetz_gateway.services.identity_cache import IdentityCache
from neuronetz_gateway.services.key_lookup import KeyLookup
from neuronetz_gateway.services.key_proving import KeyProver
from neuronetz_gateway.services.key_uses import KeyUseRecorder
from neuronetz_gateway.services.logged_prompts import LoggedPrompts
from neuronetz_gateway.services.management import hasher_of, management_of, utc_now
from neuronetz_gateway.services.model_knowledge import ModelKnowledge
from neuronetz_gateway.services.process_life import ProcessLife, reservations_lost
from neuronetz_gateway.services.prompt_building import cipher_of, logged_prompts_of, longest_of
from neuronetz_gateway.services.prompt_logging import PromptLog
from neuronetz_gateway.services.rate_limiting import RateLimiter
from neuronetz_gateway.services.rate_rebuilding import RateRebuilder
from neuronetz_gateway.services.reconciliation import Reconciliation
from neuronetz_gateway.services.recovery import Recovery
from neuronetz_gateway.services.refusal_recording import RefusalRecorder
from neuronetz_gateway.services.refusal_tally import RefusalTally
from neuronetz_gateway.services.revocation_watch import RevocationWatch
from neuronetz_gateway.services.self_observing import SelfObserver
from neuronetz_gateway.services.tenants import TenantRegistry
from neuronetz_gateway.services.usage import UsageReport
from neuronetz_gateway.services.verification_lane import VerificationLane, lane_threads
from neuronetz_gateway.settings import Settings
from neuronetz_gateway.upstream.client import Upstream
from neuronetz_gateway.upstream.opening import transport_of

_USES_SECONDS = 10.0  # how late the last use of a key may be known

type Check = Callable[[], Awaitable[str | None]]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Services:
    """What the app and the command line work with; everything connects at its first use."""

    settings: Settings
    metrics: Metrics
    database: Database
    redis: BatchedRedis
    redis_client: Redis
    counters: RateCounters
    upstream: Upstream
    model_knowledge: ModelKnowledge
    background: BackgroundWork
    lane: VerificationLane
    lookup: KeyLookup
    authenticator: Authenticator
    key_uses: KeyUseRecorder
    limiter: RateLimiter
    rate_rebuilder: RateRebuilder
    ledger: BudgetLedger
    recovery: Recovery
    revocation_watch: RevocationWatch
    refusals: RefusalRecorder
    api_keys: KeyRegistry
    tenants: TenantRegistry
    budgets: BudgetRegistry
    usage: UsageReport
    adjuster: UsageAdjuster
    audit: AuditReader
    chains: AuditServices
    reconciliation: Reconciliation
    accounts: AccountReader
    prompt_log: PromptLog
    logged_prompts: LoggedPrompts
    self_observer: SelfObserver
    checks: Mapping[str, Check]

    async def start(self) -> None:
        """Begin heartbeats and upkeep; raises EvictingStoreError on a Redis that may forget what it holds."""
        try:
            await self.counters.check_eviction_policy()
        except CountersUnavailableError as error:
            _log.warning("redis_not_there_yet", cause=type(error.__cause__).__name__)
        await self.authenticator.start()
        await self.ledger.start()
        await self.refusals.start()
        await self.limiter.start()
        await self.recovery.start()
        await self.revocation_watch.start()
        await self.chains.upkeep.start()
        await self.key_uses.start()
        await self.model_knowledge.start()
        await self.self_observer.start()

    async def aclose(self) -> None:
        """Flush, then close: settlements first, since they are what must not be lost; each step runs whatever fails."""
        async with AsyncExitStack() as closing:
            closing.push_async_callback(self.database.aclose)
            closing.push_async_callback(self.redis_client.aclose)
            closing.push_async_callback(self.redis.aclose)
            closing.push_async_callback(self.upstream.aclose)
            closing.push_async_callback(self.model_knowledge.aclose)
            closing.push_async_callback(self.lane.aclose)
            closing.push_async_callback(self.background.flush)
            closing.push_async_callback(self.prompt_log.aclose)
            closing.push_async_callback(self.lookup.aclose)
            closing.push_async_callback(self.authenticator.aclose)
            closing.push_async_callback(self.rate_rebuilder.aclose)
            closing.push_async_callback(self.limiter.aclose)
            closing.push_async_callback(self.chains.upkeep.aclose)
            closing.push_async_callback(self.key_uses.aclose)
            closing.push_async_callback(self.ledger.aclose)
            closing.push_async_callback(self.refusals.aclose)
            closing.push_async_callback(self.revocation_watch.aclose)
            closing.push_async_callback(self.recovery.aclose)
            closing.push_async_callback(self.self_observer.aclose)


def build_services(settings: Settings, transport: httpx.AsyncBaseTransport | None = None) -> Services:
    """Everything a gateway process needs; another transport may stand in for the way to Ollama."""
    metrics = Metrics()
    database, reporting = database_of(settings), reporting_of(settings)
    redis_client = Redis.from_url(settings.redis_url.get_secret_value())
    batched = BatchedRedis(redis_client, timeout_seconds=settings.redis_timeout_s, took=metrics.vitals.redis_answered)
    counters = RateCounters(batched, lease_seconds=settings.lease_s)
    upstream = Upstream(transport or transport_of(settings), settings.ollama_base_url)
    hasher = hasher_of(settings)
    managed = management_of(settings, database, hasher)
    background = BackgroundWork(metrics.happened)
    cipher = cipher_of(settings)
    lane = VerificationLane(hasher, threads=lane_threads(), queue=settings.argon2_queue)
    lookup = KeyLookup(database, timeout_seconds=settings.ledger_timeout_s, clock=time.monotonic)
    rebuilder = RateRebuilder(
        AdmittedRequests(database), counters, within_seconds=settings.ledger_timeout_s, happened=metrics.happened
    )
    limiter = RateLimiter(counters, warm=rebuilder.warm, heartbeat_seconds=settings.heartbeat_s, jitter=random.random)
    reservations = Ledger(database)
    recovery = Recovery(reservations, after_seconds=settings.recovery_after_s, happened=metrics.happened)
    ledger = BudgetLedger(
        reservations,
        life=_life(settings, reservations, limiter, recovery, metrics),
        statement_timeout_seconds=settings.database_statement_timeout_s,
        answer_within_seconds=settings.ledger_timeout_s,
        happened=metrics.happened,
        took=metrics.vitals.committed,
    )
    return Services(
        settings=settings,
        metrics=metrics,
        database=database,
        redis=batched,
        redis_client=redis_client,
        counters=counters,
        upstream=upstream,
        model_knowledge=ModelKnowledge(
            upstream,
            refresh_seconds=settings.model_facts_refresh_s,
            template_tokens=settings.prompt_template_tokens,
            happened=metrics.happened,
        ),
        background=background,
        lane=lane,
        lookup=lookup,
        authenticator=Authenticator(
            _identities(settings, batched, hasher, metrics, background),
            lookup,
            KeyProver(database, hasher, lane, background=background, now=utc_now, happened=metrics.happened),
            hasher=hasher,
            failures=FailureCounter(per_minute=settings.auth_failures_per_minute, clock=time.monotonic),
            clock=time.monotonic,
        ),
        key_uses=KeyUseRecorder(database, every_seconds=_USES_SECONDS, now=utc_now, happened=metrics.happened),
        limiter=limiter,
        rate_rebuilder=rebuilder,
        ledger=ledger,
        recovery=recovery,
        revocation_watch=RevocationWatch(
            database, limiter, heartbeat_seconds=settings.heartbeat_s, happened=metrics.happened
        ),
        refusals=RefusalRecorder(
            RefusalTally(rows_of_a_key=settings.audit_refusals_per_minute),
            ledger.refuse,
            waiting=lambda: ledger.refusals_waiting,
            now=utc_now,
        ),
        api_keys=managed.api_keys,
        tenants=managed.tenants,
        budgets=managed.budgets,
        usage=managed.usage,
        adjuster=managed.adjuster,
        audit=AuditReader(reporting),
        chains=audit_services(settings, database, reporting, jitter=random.random, happened=metrics.happened),
        reconciliation=Reconciliation(reporting),
        accounts=AccountReader(
            database,
            counters,
            warm=rebuilder.warm,
            jitter=random.random,
            within_seconds=settings.ledger_timeout_s,
        ),
        prompt_log=PromptLog(
            database,
            cipher,
            max_bytes=settings.prompt_log_max_bytes,
            longest=longest_of(settings),
            happened=metrics.happened,
        ),
        self_observer=SelfObserver(settings, metrics, ledger, clock=time.monotonic),
        logged_prompts=logged_prompts_of(settings, database, cipher),
        checks=_checks(database, counters, upstream),
    )


def _identities(
    settings: Settings, batched: BatchedRedis, hasher: KeyHasher, metrics: Metrics, background: BackgroundWork
) -> IdentityCache:
    cache = KeyCache(
        batched,
        mac_key=hasher.mac_key,
        ttl_seconds=settings.redis_key_cache_ttl_s,
        on_forged=lambda: metrics.happened("forged_cache_entry"),
    )
    return IdentityCache(
        cache,
        pepper_id=hasher.pepper_id,
        principal_ttl_seconds=settings.key_memory_ttl_s,
        clock=time.monotonic,
        happened=metrics.happened,
        background=background,
    )


def _life(
    settings: Settings, ledger: Ledger, limiter: RateLimiter, recovery: Recovery, metrics: Metrics
) -> ProcessLife:
    return ProcessLife(
        ledger,
        new_id=uuid7,
        heartbeat_seconds=settings.heartbeat_s,
        heard=recovery.heard,
        cut_all=lambda: limiter.cut(lambda _: True, reservations_lost),
        happened=metrics.happened,
    )


def _checks(database: Database, counters: RateCounters, upstream: Upstream) -> dict[str, Check]:
    """What readiness asks; the answers are for anybody's eyes, so they name no address."""

    async def postgres() -> str | None:
        if database.given_up:
            return "Postgres does not take what a request needs."
        try:
            await database.ping()
        except UnavailableError:
            return "Postgres does not answer."
        return None

    async def redis_store() -> str | None:
        try:
            await counters.check_eviction_policy()
        except CountersUnavailableError:
            return "Redis does not answer."
        except EvictingStoreError:
            return "Redis may evict keys: set maxmemory-policy to noeviction."
        return None

    async def ollama() -> str | None:
        try:
            await upstream.version()
        except httpx.HTTPError:
            return "Ollama does not answer."
        return None

    return {"postgres": postgres, "redis": redis_store, "ollama": ollama}
