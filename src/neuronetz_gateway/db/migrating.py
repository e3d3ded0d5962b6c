"""Brings a database to a revision of the schema, safely when many start at once."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from neuronetz_gateway.db.connecting import connector
from neuronetz_gateway.errors import UnavailableError

_LOCK = 0x6E_65_75_72_6F  # any constant, the same in every process that migrates
_PARTITIONS = ("audit_log_", "prompt_log_")  # day partitions come and go; they are no part of the model
_CONNECT_TIMEOUT_SECONDS = 10.0


def migrate(url: str) -> None:
    """Brings the database up to the newest revision; waits where another process is doing it.

    Runs an event loop of its own, so it must not be called from within one. Raises UnavailableError without a database.
    """
    asyncio.run(_locked(url, lambda config: command.upgrade(config, "head")))


def downgrade(url: str, revision: str) -> None:
    """Brings the database back to an older revision; "base" takes everything away."""
    asyncio.run(_locked(url, lambda config: command.downgrade(config, revision)))


def current_revision(url: str) -> str | None:
    """The revision that the database has, None where it has none."""
    return asyncio.run(_current(url))


def head() -> str:
    """The newest revision that this installation knows."""
    found = ScriptDirectory.from_config(_config()).get_current_head()
    if found is None:
        raise RuntimeError(f"there are no migrations in {migrations_folder()}")
    return found


def is_modelled(name: str | None, kind: str, parents: object = None) -> bool:
    """Whether Alembic should compare something that it found in the database with the model."""
    del parents
    return not (kind == "table" and name is not None and name.startswith(_PARTITIONS))


def migration_engine(url: str) -> AsyncEngine:
    """An engine without statement time-outs, since a migration may take long."""
    return create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connector(url, connect_timeout_seconds=_CONNECT_TIMEOUT_SECONDS),
        poolclass=NullPool,
    )


def migrations_folder() -> Path:
    """Where the revisions stand: inside an installed wheel, else at the root of the checkout."""
    package = Path(__file__).parents[1]
    packaged = package / "_migrations"
    return packaged if packaged.is_dir() else package.parents[1] / "migrations"


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


async def _locked(url: str, work: Callable[[Config], None]) -> None:
    async with _connected(url) as connection:
        await connection.execute(text("select pg_advisory_lock(:lock)"), {"lock": _LOCK})
        await connection.commit()  # the lock is the session's, not the transaction's; it goes with the connection
        await connection.run_sync(lambda sync: work(_config(sync)))
        await connection.commit()


async def _current(url: str) -> str | None:
    async with _connected(url) as connection:
        return await connection.run_sync(lambda sync: MigrationContext.configure(sync).get_current_revision())


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[AsyncConnection]:
    """A connection of its own; raises UnavailableError where there is none to be had."""
    engine = migration_engine(url)
    connection = engine.connect()
    try:
        try:
            await connection.start()
        except (DBAPIError, OSError, TimeoutError) as error:
            raise UnavailableError("The database cannot be reached: is it running, is DATABASE_URL right?") from error
        try:
            yield connection
        finally:
            await connection.close()
    finally:
        await engine.dispose()
