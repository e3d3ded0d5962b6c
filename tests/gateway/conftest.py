"""A gateway in the test's own loop, before a fake Ollama, on real stores."""

from collections.abc import AsyncIterator

import pytest

from tests.support.fake_ollama import FakeOllama
from tests.support.gateways import LiveGateway, live_gateway
from tests.support.stores import Stores


@pytest.fixture
async def gateway(stores: Stores, ollama: FakeOllama) -> AsyncIterator[LiveGateway]:
    async with live_gateway(stores, ollama.base_url) as live:
        yield live
