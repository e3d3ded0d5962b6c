"""One gateway with its pages, one Chromium and one page in it for all tests of a file; each test has its own tenant."""

import os
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from neuronetz_gateway.embedded.postgres import EmbeddedPostgres
from neuronetz_gateway.embedded.valkey import EmbeddedValkey
from tests.support.browsing import CHROMIUM, NO_CHROMIUM, Sheet, chromium, sheet
from tests.support.fake_ollama import FakeOllama, Script
from tests.support.gateways import LiveGateway, live_gateway
from tests.support.stores import Stores


@pytest.fixture(scope="module")
def stores(
    postgres: EmbeddedPostgres, valkey: EmbeddedValkey, template_database: str, as_superuser: Callable[[str], None]
) -> Iterator[Stores]:
    name = f"pages_{os.getpid()}"
    as_superuser(f"CREATE DATABASE {name} TEMPLATE {template_database} STRATEGY file_copy OWNER gateway")
    yield Stores(postgres.url_of(name), valkey.url)
    as_superuser(f"DROP DATABASE {name} WITH (FORCE)")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served() -> AsyncIterator[FakeOllama]:
    async with FakeOllama() as fake:
        yield fake


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(stores: Stores, served: FakeOllama) -> AsyncIterator[LiveGateway]:
    async with live_gateway(stores, served.base_url, playground_enabled=True) as live:
        yield live


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    if CHROMIUM is None:
        pytest.skip(NO_CHROMIUM)
    async with chromium() as started:
        yield started


@pytest.fixture
def ollama(served: FakeOllama) -> FakeOllama:
    """The fake of this file, in good health, with nothing seen by it yet."""
    served.script = served.metadata_script = Script()
    served.requests.clear()
    return served


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kept_sheet(browser: Browser, gateway: LiveGateway) -> AsyncIterator[Sheet]:
    async with sheet(browser, f"{gateway.base_url}/playground") as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def opened(kept_sheet: Sheet, ollama: FakeOllama) -> AsyncIterator[Sheet]:
    """The playground, before a key is given; whatever the browser complains of fails the test."""
    del ollama  # made healthy before
    yield kept_sheet
    await kept_sheet.forget()
    complaints, kept_sheet.complaints = kept_sheet.complaints, []
    assert complaints == []
