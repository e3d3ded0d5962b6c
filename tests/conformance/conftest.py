"""A gateway for a whole module of SDK calls; a record of what each of them showed."""

import random
from collections.abc import AsyncIterator, Callable, Generator
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from neuronetz_gateway.counters.admissions import RateCounters
from neuronetz_gateway.embedded.postgres import EmbeddedPostgres
from neuronetz_gateway.embedded.valkey import EmbeddedValkey
from neuronetz_gateway.http.caller_connection import CallerConnection
from neuronetz_gateway.repositories.admitted_requests import AdmittedRequests
from neuronetz_gateway.services.rate_limiting import RateLimiter
from neuronetz_gateway.services.rate_rebuilding import RateRebuilder
from neuronetz_gateway.settings import Settings
from neuronetz_gateway.wiring import Services, build_services
from tests.support import conformance_page, javascript
from tests.support.conformance_matrix import Cell
from tests.support.fake_ollama import FakeOllama, Script
from tests.support.gateways import live_gateway
from tests.support.stores import Stores

WINDOW_SECONDS = 1  # of the rate limits, so that an SDK that waits as told has waited within two seconds

_SEEN = pytest.StashKey[dict[Cell, str]]()
_TOLD = pytest.StashKey[str]()
_PAGE_TEST = Path(__file__).with_name("test_page.py")
_numbers = count(1)

type Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class House:
    """One gateway before one fake Ollama; `arrivals` are the paths of the requests that reached the gateway."""

    base_url: str
    services: Services
    ollama: FakeOllama
    arrivals: list[str] = field(default_factory=list)

    @property
    def sent(self) -> dict[str, object]:
        """The body of the last request that reached the model."""
        fields: dict[str, object] = self.ollama.hits[-1].json
        return fields


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opened_house(
    postgres: EmbeddedPostgres, template_database: str, valkey: EmbeddedValkey
) -> AsyncIterator[House]:
    name = f"conformance_{next(_numbers)}"
    admin = Stores(postgres.url_of("postgres", role="postgres"), "")
    await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template_database} OWNER gateway")
    stores = Stores(postgres.url_of(name), valkey.url)
    arrivals: list[str] = []
    changes: Any = {"protocol": _noting(arrivals), "build": _with_short_windows}
    async with FakeOllama() as ollama, live_gateway(stores, ollama.base_url, **changes) as gateway:
        yield House(gateway.base_url, gateway.services, ollama, arrivals)
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def house(opened_house: House) -> House:
    """The module's gateway, as if nobody had asked it anything."""
    opened_house.ollama.script = Script()
    opened_house.ollama.requests.clear()
    opened_house.arrivals.clear()
    return opened_house


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Tell:
    """Says what stands on the page for this test, where a tick is not enough."""

    def telling(text: str) -> None:
        request.node.stash[_TOLD] = text

    return telling


@pytest.fixture(scope="session")
def javascript_folder() -> Path:
    """Where the programs lie beside the SDKs that they use; skips where this machine cannot have those."""
    try:
        return javascript.fetched()
    except javascript.NotThereError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def seen(pytestconfig: pytest.Config) -> dict[Cell, str]:
    """What this run has shown so far."""
    return pytestconfig.stash.setdefault(_SEEN, {})


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-conformance", action="store_true", help="write docs/CONFORMANCE.md anew")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The page is looked at last."""
    items.sort(key=lambda item: item.path == _PAGE_TEST)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    for marker in item.iter_markers("conformance"):
        noted = item.config.stash.setdefault(_SEEN, {})
        cell = Cell(**marker.kwargs)
        noted[cell] = _worse(noted.get(cell), _value_of(item, report))
    return report


def _value_of(item: pytest.Item, report: pytest.TestReport) -> str:
    if report.failed or hasattr(report, "wasxfail"):
        return conformance_page.FAILED
    if report.skipped:
        return conformance_page.NOT_RUN
    return item.stash.get(_TOLD, conformance_page.SHOWN)


def _worse(one: str | None, other: str) -> str:
    """What counts of two reports on the same field: a failure, then what was not run, then what was told."""
    for bad in (conformance_page.FAILED, conformance_page.NOT_RUN):
        if bad in {one, other}:
            return bad
    return other if one is None or other != conformance_page.SHOWN else one


def _with_short_windows(settings: Settings) -> Services:
    services = build_services(settings)
    counters = RateCounters(services.redis, window_seconds=WINDOW_SECONDS, lease_seconds=settings.lease_s)
    rebuilder = RateRebuilder(AdmittedRequests(services.database), counters, within_seconds=settings.ledger_timeout_s)
    limiter = RateLimiter(counters, warm=rebuilder.warm, heartbeat_seconds=settings.heartbeat_s, jitter=random.random)
    return replace(services, counters=counters, limiter=limiter, rate_rebuilder=rebuilder)


def _noting(arrivals: list[str]) -> type[CallerConnection]:
    class NotingConnection(CallerConnection):
        def on_headers_complete(self) -> None:
            arrivals.append(self.url.decode("latin-1"))
            super().on_headers_complete()

    return NotingConnection
