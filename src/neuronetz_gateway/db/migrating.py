"""Brings a database to a revision of the schema, safely when many start at once."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from neuronetz_gateway.db.causes import cause_of, name_of
from neuronetz_gateway.db.connecting import connector, end_if_cancelled
from neuronetz_gateway.errors import UnavailableError
from neuronetz_gateway.settings_error import SettingsError

_LOCK = 0x6E_65_75_72_6F  # any constant, the same in every process that migrates
_PARTITIONS = ("audit_log_", "prompt_log_")  # day partitions come and go; they are no part of the model
_CONNECT_TIMEOUT_SECONDS = 3.0
_RETRY_SECONDS = 0.2
_TELL_EVERY_SECONDS = 5.0
_LONGEST_STATEMENT_SECONDS = 3600.0  # a migration may take long; what takes longer hangs
# Whoever waits for a whole table has everybody wait who comes after: so not for long, rather once more from the start.
_LOCK_TIMEOUT_SECONDS = 5.0
# Connection exception, rollback, resources, shutdown, a lock not had in time, a standby: all of them pass.
_PASSING_STATES = ("08", "40", "53", "57P", "55P03", "25006")
_REFUSED_STATES = ("28", "3D000")  # no such role, a wrong password, no such database


def migrate(url: str) -> None:
    """Brings the database up to the newest revision; waits where another process is doing it.

    Runs an event loop of its own, so it must not be called from within one. Raises UnavailableError without a database,
    SettingsError where the database will not have us.
    """
    asyncio.run(_locked(url, _upgrade))


def migrate_when_there(url: str, tell: Callable[[str], None]) -> None:
    """The same, however late the database comes; every few seconds `tell` is told what is waited for."""
    asyncio.run(_when_there(url, tell))


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


def is_known(revision: str) -> bool:
    """Whether this installation has a revision; one that it does not know was made by a newer one."""
    return any(script.revision == revision for script in ScriptDirectory.from_config(_config()).walk_revisions())


def is_modelled(name: str | None, kind: str, parents: object = None) -> bool:
    """Whether Alembic should compare something that it found in the database with the model."""
    del parents
    return not (kind == "table" and name is not None and name.startswith(_PARTITIONS))


def migration_engine(url: str) -> AsyncEngine:
    """An engine whose statements may take long, but may not hold others up."""
    return create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connector(
            url,
            connect_timeout_seconds=_CONNECT_TIMEOUT_SECONDS,
            command_timeout_seconds=_LONGEST_STATEMENT_SECONDS,
            server_settings={
                "statement_timeout": f"{_LONGEST_STATEMENT_SECONDS * 1000:.0f}",
                "lock_timeout": f"{_LOCK_TIMEOUT_SECONDS * 1000:.0f}",
                "application_name": "neuronetz-gateway migrate",
            },
        ),
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


def _upgrade(config: Config) -> None:
    command.upgrade(config, "head")


async def _when_there(url: str, tell: Callable[[str], None]) -> None:
    loop = asyncio.get_running_loop()
    tell_at = loop.time()
    while True:
        try:
            await _locked(url, _upgrade)
        except UnavailableError as error:
            if loop.time() >= tell_at:
                tell(f"Waiting for Postgres. {error.message} ({name_of(error.__cause__)})")
                tell_at = loop.time() + _TELL_EVERY_SECONDS
            await asyncio.sleep(_RETRY_SECONDS)
        else:
            return


async def _locked(url: str, work: Callable[[Config], None]) -> None:
    async with _connected(url) as connection:
        try:
            # Asked for again and again, since a time-out of locks would end the waiting for somebody's long migration.
            while not await _is_ours(connection):  # noqa: ASYNC110 - another process sends no event
                await asyncio.sleep(_RETRY_SECONDS)
            await connection.commit()  # the lock is the session's, not the transaction's; it goes with the connection
            await connection.run_sync(lambda sync: work(_config(sync)))
            await connection.commit()
        except (DBAPIError, OSError) as error:
            end_if_cancelled(0)
            if isinstance(error, DBAPIError) and not _state(error).startswith(_PASSING_STATES):
                raise
            raise UnavailableError("The database cannot be brought to this version at the moment.") from error


async def _is_ours(connection: AsyncConnection) -> bool:
    async with asyncio.timeout(_CONNECT_TIMEOUT_SECONDS):
        ours = await connection.scalar(text("select pg_try_advisory_lock(:lock)"), {"lock": _LOCK})
        if not ours:
            await connection.rollback()
    return bool(ours)


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
        except (DBAPIError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            if _state(error).startswith(_REFUSED_STATES):
                raise SettingsError(f"Postgres refuses DATABASE_URL: {name_of(error)}.") from error
            raise UnavailableError("The database cannot be reached: is it running, is DATABASE_URL right?") from error
        try:
            yield connection
        finally:
            await connection.close()
    finally:
        await engine.dispose()


def _state(error: BaseException | None) -> str:
    """The SQLSTATE that Postgres gave; 08 where it gave none, since the connection was lost."""
    return str(getattr(cause_of(error), "sqlstate", None) or "08")
