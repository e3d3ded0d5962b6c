"""What a link says about a statement that did not return."""

import asyncio
import gc
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


async def test_a_link_takes_one_statement_after_another(link: Link) -> None:
    """asyncpg refuses a second one meanwhile; that was taken for a lost connection, the first one given up with it."""
    before = await _pid(link)
    rows = await asyncio.gather(*(link.fetch("select $1::int, pg_sleep(0.01)", number) for number in range(5)))
    assert [row[0][0] for row in rows] == [0, 1, 2, 3, 4]
    assert await _pid(link) == before


@pytest.mark.promise("F2")
async def test_when_one_session_of_the_pool_hangs_none_of_the_others_has_to_be_waited_for(quick: Database) -> None:
    """Each of them cost its next caller two seconds, five times in a row, when Postgres was long back."""
    async with quick.begin() as one, quick.begin() as other:
        pids = [(await each.exec_driver_sql("select pg_backend_pid()")).scalar_one() for each in (one, other)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(UnavailableError):
            await asyncio.wait_for(_use(quick), 15)
        await asyncio.wait_for(_use(quick), 1)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


async def test_whoever_is_cancelled_in_a_transaction_is_cancelled(quick: Database) -> None:
    """The rollback fails then, since the session is gone: that error took the place of the cancellation, so a heartbeat
    that was told to end went on for ever."""
    await quick.ping()
    for turns in range(60):
        task = asyncio.create_task(_use(quick, "select pg_sleep(0.2)"))
        for _ in range(turns):
            await asyncio.sleep(0.0002)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await quick.ping()


async def test_whoever_leaves_while_a_session_is_opened_leaves_none_behind(database_url: str, world: World) -> None:
    """Between its opening by asyncpg and the pool a session belongs to nobody."""
    for turns in range(60):
        database = make_database(database_url)
        task = asyncio.create_task(_use(database))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await database.aclose()
    gc.collect()
    await until(lambda: _none_left(world))


async def _none_left(world: World) -> bool:
    return not await world.sql(
        "select 1 from pg_stat_activity where application_name = 'neuronetz-gateway' and datname = current_database()"
    )


async def _use(database: Database, statement: str = "select 1") -> None:
    async with database.begin() as connection:
        await connection.exec_driver_sql(statement)


async def test_a_slow_statement_of_the_pool_is_unavailability(quick: Database, world: World) -> None:
    principal = await world.caller()
    async with world.connection() as other, other.transaction():
        await other.execute("update tenants set rpm = 1 where id = $1", principal.tenant_id)
        with pytest.raises(UnavailableError):
            async with quick.begin() as connection:
                await connection.exec_driver_sql("update tenants set rpm = 2")
