"""Checks Redis: whether it is there, the primary, and keeps what it is given."""

from neuronetz_gateway.counters.redis_facts import RedisFacts, redis_facts
from neuronetz_gateway.domain.checkup import CheckResult, broken, doubtful, fine
from neuronetz_gateway.services.checkup_clock import clock_result
from neuronetz_gateway.settings import Settings

_NEARLY_FULL = 0.9
_SECONDS = 2.0  # more than REDIS_TIMEOUT_S, so that a slow server is told from one that is away


async def check_redis(settings: Settings) -> list[CheckResult]:
    """Raises UnavailableError where it does not answer."""
    facts = await redis_facts(settings.redis_url.get_secret_value(), timeout_seconds=_SECONDS)
    return [
        fine("redis", f"answers, {facts.name} {facts.version}"),
        clock_result("redis clock", facts.now, facts.asked_at),
        _identity(facts),
        _eviction(facts),
        *_memory(facts),
    ]


def _identity(facts: RedisFacts) -> CheckResult:
    if facts.role != "master":
        return broken("redis role", "it is a replica, which loses what it is told", "name the primary in REDIS_URL")
    if not facts.run_id:
        return broken(
            "redis role", "it names no run id, so that a restart would go unseen", "use Redis 7 or newer, or Valkey"
        )
    return fine("redis role", "the primary, with a run id by which a restart is seen")


def _eviction(facts: RedisFacts) -> CheckResult:
    if facts.eviction_policy != "noeviction":
        return broken(
            "redis eviction",
            f"maxmemory-policy is {facts.eviction_policy}: limits would be forgotten; serve refuses to start",
            "set maxmemory-policy noeviction in its configuration",
        )
    return fine("redis eviction", "maxmemory-policy is noeviction")


def _memory(facts: RedisFacts) -> list[CheckResult]:
    if facts.most_bytes and facts.used_bytes > _NEARLY_FULL * facts.most_bytes:
        share = 100 * facts.used_bytes // facts.most_bytes
        return [doubtful("redis memory", f"{share} % of maxmemory is used; requests are refused at 100 %", "give more")]
    return []
