"""A rolling upgrade loses nothing: two releases share the ledger's tables for a while, either way."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from neuronetz_gateway.db.migrating import downgrade, migrate
from neuronetz_gateway.domain.identifier import uuid7
from neuronetz_gateway.domain.principal import Principal
from neuronetz_gateway.repositories.ledger import Ledger
from tests.support import last_release
from tests.support.ledgers import World, completed, make_ask, make_database, refusal_of, running_ledger
from tests.support.other_processes import Others, register, request_of

AGE = timedelta(seconds=60)


@pytest.mark.promise("B2")
async def test_the_functions_of_the_last_release_work_on_the_new_tables(world: World) -> None:
    """A rolling upgrade migrates first: for a while processes of the last release reserve, settle, refuse."""
    caller = await world.caller()
    asked = await last_release.reserve(world, caller, await register(world))
    await last_release.refuse(world, caller, uuid7(), 429, datetime.now(UTC))
    await world.sql("select settle_r1($1)", [(asked, "completed", 200, 40, 30, 70, False, 1, 2)])
    assert await world.usage(caller) == {(70, 0)}


@pytest.mark.promise("B2", "B6")
@pytest.mark.parametrize("swept", [False, True], ids=["living", "swept"])
async def test_what_the_last_release_reserved_is_settled_or_swept_by_this_one(
    world: World, others: Others, *, swept: bool
) -> None:
    caller = await world.caller()
    asked = await last_release.reserve(world, caller, await register(world))
    if swept:
        await world.sql("update processes set swept_at = now()")
        assert await others.ledger().abandon(age=AGE, most=10) == 1
    else:
        assert await others.ledger().settle([completed(asked)]) == [True]
    assert await world.usage(caller) == {(150 if swept else 70, 0)}


@pytest.mark.promise("B2")
async def test_a_process_of_the_last_release_settles_what_runs_while_the_schema_is_upgraded(
    world: World, others: Others
) -> None:
    """A settlement that the new tables would not take is left to the sweep, which charges 150 for the 70 used."""
    caller = await world.caller()
    async with running_ledger(world.url, last_release.LastReleaseLedger, close_within_seconds=2) as ledger:
        ledger.settle(completed(await ledger.reserve(caller, make_ask())))
    await world.sql("update processes set heartbeat_at = heartbeat_at - interval '2 minutes'")
    await others.ledger().abandon(age=AGE, most=10)
    assert await world.usage(caller) == {(70, 0)}


@pytest.mark.promise("B2", "D1")
async def test_a_filled_ledger_goes_back_and_forth(database_url: str) -> None:
    """0003 -> 0002 -> 0003 with rows of every kind in all tables, then every function once more."""
    await _filled(database_url, days=9)
    await asyncio.to_thread(downgrade, database_url, "0002")
    await asyncio.to_thread(migrate, database_url)
    caller = await _filled(database_url, days=10)
    database = make_database(database_url)
    world, ledger = World(database_url, database), Ledger(database)
    await world.sql("update processes set swept_at = now()")
    while await ledger.abandon(age=AGE, most=100):
        pass
    await database.aclose()
    assert await world.usage(caller) == {(3 * 70 + 2 * 150, 0)}
    assert await world.sql("select * from audit_log where tenant_id = $1 and hash is null", caller.tenant_id) == []
    assert await world.count("reservations") == 0


async def _filled(url: str, *, days: int) -> Principal:
    """Puts something of a new caller in every table of the ledger: three requests settled, two left open, refusals."""
    database = make_database(url)
    world, ledger = World(url, database), Ledger(database)
    caller = await world.caller()
    await _settle_some(ledger, caller, await register(world))
    nobody = replace(
        refusal_of(caller, make_ask(), 401), tenant_id=None, api_key_id=None, reason="unauthenticated", occurrences=7
    )
    await ledger.refuse([refusal_of(caller, make_ask())])
    await ledger.refuse([nobody])
    await world.sql("select audit_log_ensure_partitions((now() at time zone 'UTC')::date, $1)", days)
    await database.aclose()
    return caller


async def _settle_some(ledger: Ledger, caller: Principal, process_id: UUID) -> None:
    requests = [request_of(caller, process_id) for _ in range(5)]
    await ledger.reserve(requests)
    await ledger.settle([completed(each.id) for each in requests[:3]])
