"""Asks a Redis server, over a connection of its own, what it is and how it is set up."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from redis.asyncio import Redis
from redis.exceptions import RedisError

from neuronetz_gateway.errors import UnavailableError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class RedisFacts:
    """What INFO and TIME say; the version is the server's own (Valkey's where it names one)."""

    now: datetime
    name: str
    version: str
    run_id: str
    role: str
    eviction_policy: str
    used_bytes: int
    most_bytes: int  # 0: no bound
    asked_at: datetime  # by this machine, in the middle of the question


async def redis_facts(url: str, *, timeout_seconds: float) -> RedisFacts:
    """Raises UnavailableError, whose message is for operators, where there is no answer in time."""
    client = Redis.from_url(url, socket_connect_timeout=timeout_seconds, socket_timeout=timeout_seconds)
    try:
        async with asyncio.timeout(timeout_seconds):
            info = await client.info("server", "memory", "replication")
            before = datetime.now(UTC)
            seconds, microseconds = await client.time()
            after = datetime.now(UTC)
    except (RedisError, OSError, TimeoutError) as error:
        raise UnavailableError(f"Redis does not answer ({type(error).__name__}).") from error
    finally:
        await client.aclose()
    return RedisFacts(
        now=_EPOCH + timedelta(seconds=seconds, microseconds=microseconds),
        name=str(info.get("server_name", "redis")),
        version=str(info.get("valkey_version") or info.get("redis_version", "?")),
        run_id=str(info.get("run_id", "")),
        role=str(info.get("role", "")),
        eviction_policy=str(info.get("maxmemory_policy", "unknown")),
        used_bytes=int(info.get("used_memory", 0)),
        most_bytes=int(info.get("maxmemory", 0)),
        asked_at=before + (after - before) / 2,
    )
