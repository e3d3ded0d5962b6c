"""Gateways as processes of their own, before callers who mean no good."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from neuronetz_gateway.wiring import Services, build_services
from tests.support.fake_ollama import FakeOllama
from tests.support.gateways import make_settings
from tests.support.stores import Stores


@pytest.fixture
async def management(stores: Stores, ollama: FakeOllama) -> AsyncIterator[Services]:
    """The services as the command line has them."""
    services = build_services(make_settings(stores, ollama.base_url))
    yield services
    await services.aclose()


@pytest.fixture
def env_path(tmp_path: Path) -> Path:
    return tmp_path / "gateway.env"
