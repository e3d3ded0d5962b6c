"""A gateway in the test's own loop, before a fake Ollama, on real stores."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from neuronetz_gateway.wiring import Services, build_services
from tests.support.fake_ollama import FakeOllama
from tests.support.fleet import Member, fleet
from tests.support.forks import Zygote
from tests.support.gateways import LiveGateway, live_gateway, make_settings, write_env_file
from tests.support.stores import Stores


@pytest.fixture
async def gateway(stores: Stores, ollama: FakeOllama) -> AsyncIterator[LiveGateway]:
    async with live_gateway(stores, ollama.base_url) as live:
        yield live


@pytest.fixture
async def management(stores: Stores, ollama: FakeOllama) -> AsyncIterator[Services]:
    """The services as the command line has them, for tests whose gateways are other processes."""
    services = build_services(make_settings(stores, ollama.base_url))
    yield services
    await services.aclose()


@pytest.fixture
def env_file(stores: Stores, ollama: FakeOllama, tmp_path: Path) -> Path:
    return write_env_file(tmp_path / "gateway.env", make_settings(stores, ollama.base_url))


@pytest.fixture
async def two_gateways(zygote: Zygote, env_file: Path) -> AsyncIterator[tuple[Member, Member]]:
    async with fleet(zygote, env_file, 2) as gateways:
        one, other = gateways.members
        yield one, other
