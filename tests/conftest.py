"""The real servers that the tests run against, started once a session."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from pathlib import Path

import asyncpg
import pytest
import structlog

from neuronetz_gateway.db.migrating import migrate
from neuronetz_gateway.embedded.postgres import EmbeddedPostgres
from neuronetz_gateway.embedded.valkey import EmbeddedValkey
from tests.support.databases import Databases
from tests.support.fake_ollama import FakeOllama
from tests.support.forks import Zygote
from tests.support.memory_folder import has_memory_to_spare, memory_folder
from tests.support.spreading import WholeFiles, places, room_of, unit_of, waits, wants_to_be_alone
from tests.support.stores import Kept, Stores, asyncpg_dsn

# structlog's own default draws tracebacks with all locals, which holds the event loop for a second
structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.processors.format_exc_info,
        structlog.processors.KeyValueRenderer(),
    ]
)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> WholeFiles | None:
    """How `-n` spreads the tests, unless `--dist` says otherwise."""
    return WholeFiles(config, log) if config.getoption("dist") == "load" else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if room_of(config) is not None:
        with_alone = {unit_of(item.nodeid) for item in items if wants_to_be_alone(item)}
        place = places(list(dict.fromkeys(unit_of(item.nodeid) for item in items)), with_alone)
        items.sort(key=lambda item: place[unit_of(item.nodeid)])


@pytest.hookimpl(wrapper=True, tryfirst=True)  # outside of the time-out: waiting for room is no part of the test
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, object, object]:
    room = room_of(item.config)
    if room is None:
        return (yield)
    alone, stays = wants_to_be_alone(item), wants_to_be_alone(nextitem)
    with room.entered(alone=alone, stays=stays, waits=waits(item)):
        return (yield)


@pytest.fixture(scope="session")
def store_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the servers keep their data: in memory where there is some, since each test makes hundreds of files."""
    if not has_memory_to_spare():
        yield tmp_path_factory.mktemp("stores")
        return
    with memory_folder() as folder:
        yield folder


@pytest.fixture(scope="session")
def postgres(store_folder: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(store_folder / "postgres", durable=False)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def valkey(store_folder: Path) -> Iterator[EmbeddedValkey]:
    server = EmbeddedValkey(store_folder / "valkey", durable=False)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def as_superuser(postgres: EmbeddedPostgres) -> Iterator[Callable[[str], None]]:
    """Executes a statement, on a connection that stays: opening one takes as long as most statements."""
    dsn = asyncpg_dsn(postgres.url_of("postgres", role="postgres"))
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        connection = runner.run(asyncpg.connect(dsn))
        yield lambda statement: runner.run(connection.execute(statement))
        runner.run(connection.close())


@pytest.fixture(scope="session")
def template_database(postgres: EmbeddedPostgres, as_superuser: Callable[[str], None]) -> str:
    """A migrated database to copy: making one for each test takes milliseconds, migrating it would take a second."""
    as_superuser("CREATE DATABASE template_gateway OWNER gateway")
    migrate(postgres.url_of("template_gateway"))
    return "template_gateway"


@pytest.fixture(scope="session")
def databases(postgres: EmbeddedPostgres, template_database: str) -> Iterator[Databases]:
    made = Databases(asyncpg_dsn(postgres.url_of("postgres", role="postgres")), template_database, "test")
    yield made
    made.close()


@pytest.fixture
def database_url(postgres: EmbeddedPostgres, databases: Databases) -> Iterator[str]:
    name = databases.take()
    yield postgres.url_of(name)
    databases.drop(name)


@pytest.fixture
async def stores(database_url: str, valkey: EmbeddedValkey) -> AsyncIterator[Stores]:
    kept = Kept()
    yield Stores(database_url, valkey.url, kept)
    await kept.aclose()


@pytest.fixture
async def ollama() -> AsyncIterator[FakeOllama]:
    async with FakeOllama() as fake:
        yield fake


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    """Makes gateway processes by the dozen, as killing them takes: see tests/support/zygote.py."""
    process = Zygote()
    yield process
    process.close()


@pytest.fixture
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment that names no setting, in a folder without an env file."""
    for name in os.environ:
        if name.endswith(("_URL", "_PEPPER", "_FILE")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
