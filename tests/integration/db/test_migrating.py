"""The schema: built, taken down, built again, the same as the model."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import main as alembic
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection

from neuronetz_gateway.db.migrating import (
    current_revision,
    downgrade,
    head,
    is_modelled,
    migrate,
    migration_engine,
)
from neuronetz_gateway.db.tables import metadata
from neuronetz_gateway.embedded.postgres import EmbeddedPostgres
from tests.support.documents import ROOT, commands_under
from tests.support.stores import asyncpg_dsn


@pytest.fixture
def empty_url(postgres: EmbeddedPostgres, request: pytest.FixtureRequest) -> str:
    name = f"empty_{abs(hash(request.node.name))}"

    async def create() -> None:
        connection = await asyncpg.connect(asyncpg_dsn(postgres.url_of("postgres", role="postgres")))
        await connection.execute(f"CREATE DATABASE {name} OWNER gateway")
        await connection.close()

    asyncio.run(create())
    return postgres.url_of(name)


@pytest.mark.promise("P4")
def test_migrations_run_up_down_and_up_again(empty_url: str) -> None:
    assert current_revision(empty_url) is None
    migrate(empty_url)
    assert current_revision(empty_url) == head()
    downgrade(empty_url, "base")
    assert current_revision(empty_url) is None
    assert _leftovers(empty_url) == {"alembic_version"}
    migrate(empty_url)
    assert current_revision(empty_url) == head()


@pytest.mark.promise("P4")
def test_a_filled_database_goes_back_to_the_first_release_and_forth(empty_url: str) -> None:
    """A key that may load models loses that on the way back: what a cache still says of it must be stale by then."""
    migrate(empty_url)
    _execute(
        empty_url,
        "insert into tenants (id, name) values ('00000000-0000-0000-0000-000000000001', 'acme')",
        f"{_INSERT_KEY}, may_load_models) {_KEY_VALUES}, '00000000-0000-0000-0000-00000000000a', 'nz_a', true)",
        f"{_INSERT_KEY}, may_load_models) {_KEY_VALUES}, '00000000-0000-0000-0000-00000000000b', 'nz_b', false)",
    )
    downgrade(empty_url, "0001")
    assert _keys(empty_url) == [("nz_a", 2), ("nz_b", 1)]
    _execute(empty_url, "update api_keys set name = 'other'", "update api_keys set proven_at = now()")
    assert _keys(empty_url) == [("nz_a", 3), ("nz_b", 2)]
    _execute(empty_url, f"{_INSERT_KEY}) {_KEY_VALUES}, '00000000-0000-0000-0000-00000000000c', 'nz_c')")
    migrate(empty_url)
    assert current_revision(empty_url) == head()
    assert _keys(empty_url, "may_load_models") == [("nz_a", False), ("nz_b", False), ("nz_c", False)]
    assert _keys(empty_url) == [("nz_a", 3), ("nz_b", 2), ("nz_c", 1)]
    _execute(empty_url, "update api_keys set may_load_models = true where prefix = 'nz_c'")
    assert _keys(empty_url) == [("nz_a", 3), ("nz_b", 2), ("nz_c", 2)]


@pytest.mark.promise("P4")
def test_the_way_back_of_the_runbook_leads_back(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it stands in docs/OPERATIONS.md, by Alembic's own command, which needs the folder and one variable alone."""
    _, (line,) = commands_under("docs/OPERATIONS.md", "Upgrade")
    program, *words = line.split()
    assert program == ".venv/bin/alembic"
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("DATABASE_URL", database_url)
    alembic(words)
    assert current_revision(database_url) == words[-1] != head()


def test_many_may_migrate_at_once(empty_url: str) -> None:
    with ThreadPoolExecutor(4) as starters:
        for done in [starters.submit(migrate, empty_url) for _ in range(4)]:
            done.result()
    assert current_revision(empty_url) == head()


def test_the_model_is_what_the_migrations_make(database_url: str) -> None:
    def compare(connection: Connection) -> list[object]:
        options = {"compare_type": True, "compare_server_default": True, "include_name": is_modelled}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))

    async def differences() -> list[object]:
        engine = migration_engine(database_url)
        async with engine.connect() as connection:
            found = await connection.run_sync(compare)
        await engine.dispose()
        return found

    assert asyncio.run(differences()) == []


_INSERT_KEY = "insert into api_keys (tenant_id, name, secret_hash, digest, pepper_id, id, prefix"
_KEY_VALUES = "values ('00000000-0000-0000-0000-000000000001', 'ci', 'hash', 'digest', 'p1'"


def _execute(url: str, *statements: str) -> None:
    async def execute() -> None:
        connection = await asyncpg.connect(asyncpg_dsn(url))
        for statement in statements:
            await connection.execute(statement)
        await connection.close()

    asyncio.run(execute())


def _keys(url: str, column: str = "version") -> list[tuple[str, object]]:
    """Every key by prefix with one column of it."""

    async def ask() -> list[tuple[str, object]]:
        connection = await asyncpg.connect(asyncpg_dsn(url))
        rows = await connection.fetch("select * from api_keys order by prefix")
        await connection.close()
        return [(row["prefix"], row[column]) for row in rows]

    return asyncio.run(ask())


def _leftovers(url: str) -> set[str]:
    async def ask() -> set[str]:
        connection = await asyncpg.connect(asyncpg_dsn(url))
        rows = await connection.fetch(
            """select relname as name from pg_class
               where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'c')
               union all select proname from pg_proc where pronamespace = 'public'::regnamespace"""
        )
        await connection.close()
        return {row["name"] for row in rows}

    return asyncio.run(ask())
