"""The audit log's partitions: ahead of time, never missed."""

from datetime import UTC, date, datetime, timedelta

from neuronetz_gateway.domain.identifier import uuid7
from neuronetz_gateway.repositories.unit_of_work import unit_of_work
from tests.support.ledgers import World

_INSERT = """insert into audit_log (id, recorded_on, tenant_id, api_key_id, request_id, endpoint, model, outcome,
                                    status, admitted_at, address, user_agent)
             values ($1, $2, $1, $1, '', '', '', 'completed', 200, now(), '', '') returning tableoid::regclass::text"""


async def test_a_row_goes_to_the_partition_of_its_day(world: World) -> None:
    today = datetime.now(UTC).date()
    async with unit_of_work(world.database) as uow:
        await uow.audit_log.ensure_partitions(3)
        assert await uow.audit_log.ensure_partitions(3) == 0
    rows = await world.sql(_INSERT, uuid7(), today + timedelta(days=2))
    assert rows[0][0] == f"audit_log_{today + timedelta(days=2):%Y%m%d}"


async def test_a_row_without_a_partition_is_kept_then_moves_into_one(world: World) -> None:
    late = date(2001, 2, 3)
    assert (await world.sql(_INSERT, uuid7(), late))[0][0] == "audit_log_default"
    assert (await world.sql("select audit_log_ensure_partitions($1, 1)", late))[0][0] == 1
    assert await world.count("audit_log_20010203") == 1
    assert await world.count("audit_log_default") == 0
    assert (await world.sql(_INSERT, uuid7(), late))[0][0] == "audit_log_20010203"
