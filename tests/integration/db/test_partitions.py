"""The audit log's partitions: ahead of time, never missed."""

from datetime import UTC, date, datetime, timedelta

from neuronetz_gateway.domain.identifier import uuid7
from neuronetz_gateway.repositories.unit_of_work import unit_of_work
from tests.support.ledgers import World, make_database

_INSERT = """insert into audit_log (id, recorded_on, tenant_id, api_key_id, request_id, endpoint, model, outcome,
                                    status, admitted_at, address, user_agent)
             values ($1, $2, $1, $1, '', '', '', 'completed', 200, now(), '', '') returning tableoid::regclass::text"""


async def test_a_row_goes_to_the_partition_of_its_day(world: World) -> None:
    today = datetime.now(UTC).date()
    async with unit_of_work(world.database) as uow:
        await uow.partitions.ensure_audit_log(3)
        assert await uow.partitions.ensure_audit_log(3) == 0
    rows = await world.sql(_INSERT, uuid7(), today + timedelta(days=2))
    assert rows[0][0] == f"audit_log_{today + timedelta(days=2):%Y%m%d}"


async def test_a_row_without_a_partition_is_kept_then_moves_into_one(world: World) -> None:
    late = date(2001, 2, 3)
    assert (await world.sql(_INSERT, uuid7(), late))[0][0] == "audit_log_default"
    assert (await world.sql("select audit_log_ensure_partitions($1, 1)", late))[0][0] == 1
    assert await world.count("audit_log_20010203") == 1
    assert await world.count("audit_log_default") == 0
    assert (await world.sql(_INSERT, uuid7(), late))[0][0] == "audit_log_20010203"


async def test_sealed_prompts_have_their_days_ahead_too(world: World) -> None:
    there = "select count(*) from pg_inherits where inhparent = 'prompt_log'::regclass"
    ((before,),) = await world.sql(there)
    async with unit_of_work(world.database) as uow:
        made = await uow.partitions.ensure_prompt_log(5)
        assert made >= 3  # two are there from the beginning, one of which midnight may have made one of yesterday
        assert await uow.partitions.ensure_prompt_log(5) == 0
    assert await world.sql(there) == [(before + made,)]


_PROMPT = """insert into prompt_log (id, expires_on, tenant_id, api_key_id, model, endpoint, request_id, admitted_at,
                                     expires_at, prompt_bytes, key_id, nonce, sealed)
             select id, $1, id, id, '', '', '', now(), $2, 1, '', '', '' from gen_random_uuid() id"""


async def test_a_prompt_goes_when_its_time_is_over_though_somebody_reads_the_others(world: World) -> None:
    """The drop of a day waits for whoever reads the table, a dump for hours: then its rows go one by one."""
    now = datetime.now(UTC)
    today = now.date()
    await world.sql("select prompt_log_ensure_partitions($1, 3)", today - timedelta(days=3))
    for days, seconds in ((-2, -1), (-1, -1), (0, -1), (0, 3600), (1, 86400)):
        at = datetime(today.year, today.month, today.day, tzinfo=UTC) + timedelta(days=days, seconds=1)
        await world.sql(_PROMPT, at.date(), now + timedelta(seconds=seconds))
    impatient = make_database(world.url, lock_timeout_seconds=0.05)
    async with world.connection() as connection, connection.transaction():
        await connection.fetch("select 1 from prompt_log")
        async with unit_of_work(impatient) as uow, unit_of_work(world.database) as other:
            assert await uow.partitions.purge_prompts() == 3
            assert await other.partitions.purge_prompts() == 0  # one at a time
    assert await world.count("prompt_log") == 2
    async with unit_of_work(impatient) as uow:
        assert await uow.partitions.purge_prompts() == 0
    assert await world.sql("select to_regclass($1)", f"prompt_log_{today - timedelta(days=2):%Y%m%d}") == [(None,)]
    await impatient.aclose()
