"""What a link says about a statement that did not return."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import pytest

from neuronetz_gateway.db.database import Database
from neuronetz_gateway.db.group_commit import BatchDataError, NotCommittedError, UnknownOutcomeError
from neuronetz_gateway.db.link import Link
from neuronetz_gateway.errors import UnavailableError
from tests.support.ledgers import World, make_database, until

NOWHERE = "postgresql+asyncpg://gateway@/gateway?host=/nowhere"


@pytest.fixture
async def quick(database_url: str) -> AsyncIterator[Database]:
    database = make_database(database_url, statement_timeout_seconds=0.3, lock_timeout_seconds=0.2)
    yield database
    await database.aclose()


@pytest.fixture
def link(quick: Database) -> Link:
    return quick.link("test")


async def _pid(link: Link) -> int:
    return int((await link.fetch("select pg_backend_pid()"))[0][0])


async def test_a_statement_that_the_server_gives_up_is_certainly_not_committed(link: Link) -> None:
    with pytest.raises(NotCommittedError, match="QueryCanceled"):
        await link.fetch("select pg_sleep(5)")
    assert await link.fetch("select 1")


async def test_bad_data_is_the_batchs_own_fault_and_keeps_the_session(link: Link) -> None:
    before = await _pid(link)
    with pytest.raises(BatchDataError):
        await link.fetch("select $1::text", "a\x00b")
    with pytest.raises(BatchDataError):
        await link.fetch("select $1::int", "not a number")
    assert await _pid(link) == before


@pytest.mark.promise("F2")
async def test_an_ended_session_is_an_unknown_outcome_and_the_next_call_connects_anew(link: Link, world: World) -> None:
    before = await _pid(link)
    call = asyncio.create_task(link.fetch("select pg_sleep(0.25)"))
    sleeping = "select 1 from pg_stat_activity where pid = $1 and state = 'active' and query like '%sleep%'"
    await until(lambda: world.sql(sleeping, before))
    await world.sql("select pg_terminate_backend($1)", before)
    with pytest.raises(UnknownOutcomeError) as caught:
        await call
    assert caught.value.session.startswith("neuronetz-gateway test ")
    assert await _pid(link) != before


@pytest.mark.promise("F2")
async def test_a_hanging_session_is_given_up_with_an_unknown_outcome(link: Link) -> None:
    hanging = await _pid(link)
    os.kill(hanging, signal.SIGSTOP)
    try:
        with pytest.raises(UnknownOutcomeError):
            await link.fetch("select 1")
        assert await _pid(link) != hanging
    finally:
        os.kill(hanging, signal.SIGCONT)


async def test_an_unreachable_database_has_certainly_not_committed() -> None:
    database = make_database(NOWHERE)
    link = database.link("test")
    for _ in range(2):
        with pytest.raises(NotCommittedError):
            await link.fetch("select 1")
    with pytest.raises(UnavailableError):
        await database.ping()
    await database.aclose()


@pytest.mark.promise("F2")
async def test_the_pool_survives_the_end_of_its_sessions(quick: Database, world: World) -> None:
    await quick.ping()
    await world.sql(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'neuronetz-gateway'"
    )
    await quick.ping()


async def test_a_slow_statement_of_the_pool_is_unavailability(quick: Database, world: World) -> None:
    principal = await world.caller()
    async with world.connection() as other, other.transaction():
        await other.execute("update tenants set rpm = 1 where id = $1", principal.tenant_id)
        with pytest.raises(UnavailableError):
            async with quick.begin() as connection:
                await connection.exec_driver_sql("update tenants set rpm = 2")
