"""While Postgres hangs, every way to it ends in time."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from neuronetz_gateway.db.database import Database
from neuronetz_gateway.db.group_commit import NotCommittedError, UnknownOutcomeError
from neuronetz_gateway.db.migrating import current_revision, migrate
from neuronetz_gateway.errors import UnavailableError
from tests.support.commands import command_fork
from tests.support.fault_proxy import FaultProxy
from tests.support.faulty_stores import proxy_before_postgres, through
from tests.support.forks import Zygote
from tests.support.gateways import make_settings, write_env_file
from tests.support.stores import Stores

SLACK = 3
CONNECT, STATEMENT, PATIENCE = 1.0, 0.5, 0.3
MIGRATING = 3


@pytest.fixture
async def proxy(database_url: str) -> AsyncIterator[FaultProxy]:
    async with proxy_before_postgres(database_url) as proxy:
        yield proxy


@pytest.fixture
async def database(proxy: FaultProxy, database_url: str) -> AsyncIterator[Database]:
    database = Database(
        through(proxy, database_url),
        pool_size=3,
        connect_timeout_seconds=CONNECT,
        statement_timeout_seconds=STATEMENT,
        lock_timeout_seconds=STATEMENT,
        patience_seconds=PATIENCE,
    )
    yield database
    await database.aclose()


async def _begin(database: Database) -> None:
    async with database.begin() as connection:
        await connection.exec_driver_sql("select 1")


async def _fetch(database: Database) -> None:
    await database.link("test").fetch("select 1")


WAYS: dict[str, tuple[Callable[[Database], Awaitable[None]], float]] = {
    "a transaction": (_begin, CONNECT),
    "a question whether it is there": (Database.ping, PATIENCE),
    "a link": (_fetch, CONNECT),
    "the end": (Database.aclose, CONNECT),
}


@pytest.mark.promise("F2")
@pytest.mark.parametrize("name", WAYS)
async def test_a_connection_that_hangs_or_cannot_be_had_is_given_up(
    name: str, database: Database, proxy: FaultProxy
) -> None:
    way, seconds = WAYS[name]
    await asyncio.gather(*(_begin(database) for _ in range(3)))
    proxy.hang()
    for _ in range(2):  # with sessions that hang, then without any
        began = time.monotonic()
        try:
            await way(database)
        except (UnavailableError, NotCommittedError, UnknownOutcomeError):
            pass
        else:
            assert way is Database.aclose
        assert time.monotonic() - began < (seconds + 0.1) * SLACK
    proxy.heal()
    began = time.monotonic()
    while True:
        try:
            await _begin(database)
        except UnavailableError:
            assert time.monotonic() - began < CONNECT * SLACK
        else:
            break


@pytest.mark.promise("F2")
async def test_a_statement_of_a_transaction_that_hangs_is_given_up(database: Database, proxy: FaultProxy) -> None:
    with pytest.raises(UnavailableError):
        async with database.begin() as connection:
            await connection.exec_driver_sql("select 1")
            proxy.hang()
            began = time.monotonic()
            await connection.exec_driver_sql("select 1")
    assert time.monotonic() - began < (STATEMENT + 0.5) * SLACK


@pytest.mark.promise("F2")
async def test_no_command_waits_for_ever(
    zygote: Zygote, proxy: FaultProxy, database_url: str, stores: Stores, tmp_path: Path
) -> None:
    proxy.hang()
    url = through(proxy, database_url)
    env_file = write_env_file(
        tmp_path / "gateway.env",
        make_settings(Stores(url, stores.redis_url), "http://127.0.0.1:9", database_connect_timeout_s=2),
    )
    took = await asyncio.gather(*(_refused(way, url) for way in (migrate, current_revision)))
    done = await command_fork(zygote, tmp_path, "list-tenants", env_file=env_file)
    assert "The database is not available (TimeoutError). Is it running" in done.error
    print(f"F2: a hanging Postgres is told of after {max(took):.1f} s by what migrates")
    assert max(took) < MIGRATING * SLACK


async def _refused(way: Callable[[str], object], url: str) -> float:
    began = time.monotonic()
    with pytest.raises(UnavailableError):
        await asyncio.to_thread(way, url)
    return time.monotonic() - began
