"""The real servers that the tests run against, started once a session."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
import structlog

from neuronetz_gateway.db.migrating import migrate
from neuronetz_gateway.embedded.postgres import EmbeddedPostgres
from neuronetz_gateway.embedded.valkey import EmbeddedValkey
from tests.support.fake_ollama import FakeOllama
from tests.support.stores import Stores, asyncpg_dsn

_numbers = itertools.count(1)

# structlog's own default draws tracebacks with all locals, which holds the event loop for a second
structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.processors.format_exc_info,
        structlog.processors.KeyValueRenderer(),
    ]
)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(tmp_path_factory.mktemp("postgres"), durable=False)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    server = EmbeddedValkey(tmp_path_factory.mktemp("valkey"), durable=False)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def template_database(postgres: EmbeddedPostgres) -> str:
    """A migrated database to copy: making one for each test takes milliseconds, migrating it would take a second."""
    asyncio.run(_execute(postgres, "CREATE DATABASE template_gateway OWNER gateway"))
    migrate(postgres.url_of("template_gateway"))
    return "template_gateway"


@pytest.fixture
def database_url(postgres: EmbeddedPostgres, template_database: str) -> Iterator[str]:
    name = f"test_{os.getpid()}_{next(_numbers)}"
    asyncio.run(_execute(postgres, f"CREATE DATABASE {name} TEMPLATE {template_database} OWNER gateway"))
    yield postgres.url_of(name)
    asyncio.run(_execute(postgres, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def stores(database_url: str, valkey: EmbeddedValkey) -> Stores:
    return Stores(database_url, valkey.url)


@pytest.fixture
async def ollama() -> AsyncIterator[FakeOllama]:
    async with FakeOllama() as fake:
        yield fake


@pytest.fixture
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment that names no setting, in a folder without an env file."""
    for name in os.environ:
        if name.endswith(("_URL", "_PEPPER", "_FILE")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


async def _execute(postgres: EmbeddedPostgres, statement: str) -> None:
    connection = await asyncpg.connect(asyncpg_dsn(postgres.url_of("postgres", role="postgres")))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
