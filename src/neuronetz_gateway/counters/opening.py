"""Opens the counters of the Redis that the settings name, for a question or two."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis

from neuronetz_gateway.counters.admissions import RateCounters
from neuronetz_gateway.counters.connection import BatchedRedis
from neuronetz_gateway.settings import Settings


@asynccontextmanager
async def counters_for_a_moment(settings: Settings) -> AsyncIterator[RateCounters]:
    """Connects at its first use, closed on leaving."""
    client = Redis.from_url(settings.redis_url.get_secret_value())
    batched = BatchedRedis(client, timeout_seconds=settings.redis_timeout_s)
    try:
        yield RateCounters(batched, lease_seconds=settings.lease_s)
    finally:
        await batched.aclose()
        await client.aclose()
