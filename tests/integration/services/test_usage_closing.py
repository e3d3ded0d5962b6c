"""Days that are over are summed up; whatever is summed up, what is shown stays what the audit log says."""

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest

from neuronetz_gateway.db.database import Database
from neuronetz_gateway.domain.day_range import AskedDays
from neuronetz_gateway.domain.identifier import uuid7
from neuronetz_gateway.domain.tenant import Tenant
from neuronetz_gateway.errors import UnavailableError
from neuronetz_gateway.repositories.unit_of_work import unit_of_work
from neuronetz_gateway.services.usage import UsageOverview, UsageReport
from neuronetz_gateway.services.usage_closing import UsageClosing
from tests.support.audited import clocked_url, writing
from tests.support.ledgers import make_database, until
from tests.support.stores import Stores

NOON = datetime(2026, 6, 10, 12, tzinfo=UTC)
TODAY = NOON.date()
DAYS = 5  # before today, with rows
ZONES = ("UTC", "Asia/Kathmandu", "Pacific/Kiritimati", "Pacific/Pago_Pago", "America/St_Johns")
OUTCOMES = ("completed", "completed", "cut", "abandoned", "not_forwarded", "refused", "noted", "adjusted")
MODELS = ("qwen3:latest", "llama3:latest")
_ROW = """
insert into audit_log (id, tenant_id, api_key_id, request_id, endpoint, model, outcome, status, prompt_tokens,
                       output_tokens, charged_tokens, admitted_at, address, user_agent, recorded_on, day)
values (gen_random_uuid(), $1, $2, 'r', '/api/chat', $3, $4, 200, $5, $6, $7, $8, '127.0.0.1', '', $9, $10)
"""


@dataclass(frozen=True, slots=True)
class Books:
    """A database whose clock stands at NOON, with tenants in many zones and what the log says of them."""

    stores: Stores
    closing: UsageClosing
    report: UsageReport
    names: tuple[str, ...]

    async def overviews(self) -> list[UsageOverview]:
        """Of each tenant this month, the last four days, three days in between."""
        asked = (AskedDays(4), AskedDays(0, TODAY - timedelta(days=5), TODAY - timedelta(days=3)))
        return [await self.report.of_tenant(name, days) for name in self.names for days in asked]

    async def closed_before(self) -> set[date]:
        return {row["before"] for row in await self.stores.fetch("select before from usage_closed")}


@pytest.fixture
async def clocked(database_url: str) -> AsyncIterator[Database]:
    async with writing(database_url) as writer:
        await writer.set_clock(NOON)
    database = make_database(clocked_url(database_url), lock_timeout_seconds=0.05)
    yield database
    await database.aclose()


@pytest.fixture
async def books(clocked: Database, database_url: str) -> Books:
    stores, chance = Stores(database_url, ""), random.Random(7)
    # the first day and one in between have no partition of their own
    for days in (5, 4, 2, 1, 0):
        await stores.execute("select audit_log_ensure_partitions($1, 1)", TODAY - timedelta(days=days))
    tenants = [await _tenant(clocked, f"tenant-{number}", zone) for number, zone in enumerate(ZONES)]
    async with stores.transaction() as writing_down:
        for tenant in tenants:
            keys = (uuid7(), uuid7(), None)
            await writing_down.executemany(_ROW, [_row(chance, tenant, keys) for _ in range(120)])
    report = UsageReport(clocked, now=lambda: NOON)
    return Books(stores, UsageClosing(clocked), report, tuple(tenant.name for tenant in tenants))


async def _tenant(database: Database, name: str, zone: str) -> Tenant:
    async with unit_of_work(database) as uow:
        return await uow.tenants.add(uuid7(), name, created_at=NOON - timedelta(days=30), time_zone=zone)


def _row(chance: random.Random, tenant: Tenant, keys: tuple[UUID | None, ...]) -> tuple[object, ...]:
    """A request of the last days, now and then one that ended on the day after, or a correction of an earlier day."""
    admitted_at = NOON - timedelta(days=chance.randint(0, DAYS), minutes=chance.randrange(720))
    outcome = chance.choice(OUTCOMES)
    day = None if outcome != "adjusted" else admitted_at - timedelta(days=chance.randint(0, 3))
    recorded_on = min(TODAY, admitted_at.date() + timedelta(days=chance.choice((0, 0, 0, 1))))
    tokens = (0, 0, -3) if outcome == "adjusted" else (chance.randrange(50), chance.randrange(50), chance.randrange(99))
    key = chance.choice(keys if outcome == "adjusted" else keys[:2])
    return (tenant.id, key, chance.choice(MODELS), outcome, *tokens, admitted_at, recorded_on, day)


async def test_what_is_shown_is_the_same_whichever_days_are_summed_up(books: Books) -> None:
    before = await books.overviews()
    assert await books.closed_before() == set()
    closed = await books.closing.round()
    assert closed == sorted({TODAY - timedelta(days=days) for days in range(1, DAYS + 1)})
    assert await books.closed_before() == {TODAY}
    assert await books.overviews() == before
    for back in (4, 2, 1):
        await books.stores.execute("update usage_closed set before = $1", TODAY - timedelta(days=back))
        assert await books.overviews() == before
        assert len(await books.closing.round()) == back  # the sums of before give way
        assert await books.overviews() == before
    assert await books.closing.round() == []


async def test_closed_days_are_read_from_their_sums_alone(books: Books) -> None:
    """Also once retention has dropped their rows: usage is shown for longer than the audit log is kept."""
    await books.closing.round()
    before = await books.overviews()
    assert any(overview.period and overview.period.by_day for overview in before)
    for back in range(1, DAYS + 1):
        await books.stores.fetch("select audit_log_drop_day($1)", TODAY - timedelta(days=back))
    left = await books.stores.fetch("select min(recorded_on) from audit_log")
    assert left == [{"min": TODAY}]
    assert await books.overviews() == before


async def test_a_day_is_over_ten_minutes_past_midnight(books: Books, database_url: str) -> None:
    await books.closing.round()
    midnight = datetime(2026, 6, 11, tzinfo=UTC)
    for minutes, closed in ((-1, []), (9, []), (11, [TODAY])):
        async with writing(database_url) as writer:
            await writer.set_clock(midnight + timedelta(minutes=minutes))
        assert await books.closing.round() == closed


async def test_a_tenant_that_changes_its_zone_has_its_days_summed_up_anew(books: Books) -> None:
    name = books.names[0]
    await books.closing.round()
    await books.stores.execute("update tenants set time_zone = 'Asia/Tokyo' where name = $1", name)
    assert len(await books.closed_before()) == 1  # the others'
    raw = await books.overviews()
    assert len(await books.closing.round()) == DAYS
    assert await books.overviews() == raw
    rows = await books.stores.fetch("select count(*) as n from usage_closed")
    assert rows == [{"n": len(ZONES)}]


async def test_a_zone_that_changes_while_a_day_is_summed_up_waits_for_it(books: Books, clocked: Database) -> None:
    """Else the sums of the old zone would be taken for those of the new one."""
    async with unit_of_work(clocked) as uow:
        assert await uow.usage_sums.close_day() is not None
        changing = asyncio.create_task(
            books.stores.execute("update tenants set time_zone = 'Asia/Tokyo' where name = $1", books.names[0])
        )
        await until(lambda: books.stores.fetch("select 1 from pg_stat_activity where wait_event_type = 'Lock'"))
        assert not changing.done()
    await changing
    left = await books.stores.fetch(
        "select 1 from usage_days d join tenants t on t.id = d.tenant_id where t.name = $1", books.names[0]
    )
    assert left == []


async def test_no_day_is_summed_up_while_somebody_writes_to_it_or_sums_it_up(books: Books, clocked: Database) -> None:
    async with books.stores.transaction() as late:
        await late.execute("lock table audit_log_20260605 in row exclusive mode")
        with pytest.raises(UnavailableError):
            await books.closing.round()
    async with unit_of_work(clocked) as uow:
        assert await uow.usage_sums.close_day() is not None
        assert await books.closing.round() == []
    assert len(await books.closing.round()) > 0
