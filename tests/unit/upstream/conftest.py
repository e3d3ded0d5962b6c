"""The loops and the raw upstream of these tests."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import uvloop

from neuronetz_gateway.upstream.transport import OllamaTransport
from tests.unit.upstream.raw_upstream import RawUpstream


def pytest_asyncio_loop_factories(
    config: pytest.Config,  # noqa: ARG001 - the hook's signature
    item: pytest.Item,  # noqa: ARG001 - the hook's signature
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Production runs on uvloop, but what holds on one loop only is luck."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def upstream() -> AsyncIterator[RawUpstream]:
    async with RawUpstream() as server:
        yield server


@pytest.fixture
async def transport() -> AsyncIterator[OllamaTransport]:
    async with OllamaTransport(connect_timeout_seconds=5, first_byte_timeout_seconds=10) as transport:
        yield transport
