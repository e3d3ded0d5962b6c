"""A Valkey for the tests of the counters."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from neuronetz_gateway.counters.connection import BatchedRedis
from tests.support.counters import Server, WarmingCounters, batched


@pytest.fixture(scope="session")
def _started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("v"))
    yield server
    server.stop()


@pytest.fixture
def server(_started: Server) -> Server:
    """A running Valkey without data."""
    _started.clear()
    return _started


@pytest_asyncio.fixture
async def connection(server: Server) -> AsyncIterator[BatchedRedis]:
    async with batched(server.url) as connection:
        yield connection


@pytest.fixture
def counters(connection: BatchedRedis) -> WarmingCounters:
    return WarmingCounters(connection)
