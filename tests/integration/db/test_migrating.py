"""The schema: built, taken down, built again, the same as the model."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
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
