"""Long days of the audit log are not indexed while everybody waits; whatever has an index, requests are found."""

import asyncio
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
import pytest

from neuronetz_gateway.db.migrating import current_revision, downgrade, head, migrate
from neuronetz_gateway.db.reporting import ReportingDatabase
from neuronetz_gateway.embedded.postgres import EmbeddedPostgres
from neuronetz_gateway.repositories.audit_rows import AuditFilter, AuditRow
from neuronetz_gateway.services.audit_reading import AuditReader
from tests.support.stores import Stores, asyncpg_dsn

_FILL = """insert into audit_log (id, recorded_on, request_id, endpoint, model, outcome, status, admitted_at, address,
                                  user_agent)
           select (replace($1, '-', '') || '-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, $1::text::date,
                  'r' || n, '', '', 'refused', 429, now(), '', repeat('x', 900)
           from generate_series(1, $2) n"""
_LONG, _SHORT, _LATER = "2026-01-05", "2026-01-06", "2026-01-07"
_INDEXED = """select t.relname, i.indisvalid from pg_index i join pg_class t on t.oid = i.indrelid
              where t.relname like 'audit_log\\_%' and pg_get_indexdef(i.indexrelid) like $1"""
_OF_REQUESTS = "%(request_id)"
_OF_UNUSUAL_ONES = ("%(status, id) WHERE (status <> 200)", "%(outcome, id) WHERE (outcome <> 'completed'::text)")


@pytest.fixture
def old(postgres: EmbeddedPostgres) -> Stores:
    """A database of the release before, with one long day and a short one."""

    async def create() -> None:
        connection = await asyncpg.connect(asyncpg_dsn(postgres.url_of("postgres", role="postgres")))
        await connection.execute("drop database if exists lookup")
        await connection.execute("create database lookup owner gateway")
        await connection.close()

    asyncio.run(create())
    stores = Stores(postgres.url_of("lookup"), "")
    migrate(stores.database_url)
    downgrade(stores.database_url, "0004")
    asyncio.run(_fill(stores))
    return stores


async def _fill(stores: Stores) -> None:
    await stores.execute("select audit_log_ensure_partitions($1::text::date, 2)", _LONG)
    await stores.execute(_FILL, _LONG, 20_000)
    await stores.execute(_FILL, _SHORT, 10)


@pytest.mark.promise("P4")
def test_requests_are_found_by_their_id_in_days_with_an_index_and_in_days_without(old: Stores) -> None:
    migrate(old.database_url)
    indexed = _indexed(old)
    assert "audit_log_20260105" not in indexed
    assert indexed["audit_log_20260106"]
    assert _found(old, "r7") == 2
    assert _found(old, "r20000") == 1
    asyncio.run(old.execute("select audit_log_ensure_partitions($1::text::date, 1)", _LATER))
    assert _indexed(old)["audit_log_20260107"]

    asyncio.run(old.execute("select audit_log_drop_day($1::text::date)", _LONG))
    assert _found(old, "r7") == 1
    downgrade(old.database_url, "0004")
    assert _indexed(old) == {}
    migrate(old.database_url)
    assert current_revision(old.database_url) == head()


@pytest.mark.promise("P4")
@pytest.mark.parametrize("definition", _OF_UNUSUAL_ONES)
def test_what_went_otherwise_is_indexed_in_short_days_and_in_all_to_come(old: Stores, definition: str) -> None:
    migrate(old.database_url)
    indexed = _indexed(old, definition)
    assert "audit_log_20260105" not in indexed
    assert indexed["audit_log_20260106"]
    asyncio.run(old.execute("select audit_log_ensure_partitions($1::text::date, 1)", _LATER))
    assert _indexed(old, definition)["audit_log_20260107"]
    downgrade(old.database_url, "0005")
    assert _indexed(old, definition) == {}
    migrate(old.database_url)
    assert current_revision(old.database_url) == head()


@pytest.mark.parametrize("wanted", [AuditFilter(status=429), AuditFilter(outcome="refused")])
def test_the_newest_of_a_kind_are_found_across_days_with_an_index_and_without(old: Stores, wanted: AuditFilter) -> None:
    migrate(old.database_url)
    asyncio.run(old.execute("select audit_log_ensure_partitions($1::text::date, 1)", _LATER))
    asyncio.run(old.execute(_FILL, _LATER, 3))
    asyncio.run(old.execute(_FILL, "2019-01-01", 2))  # in the default partition
    assert wanted.is_indexed
    days = [str(row.recorded_on) for row in _rows(old, wanted, limit=20)]
    assert days == [_LATER] * 3 + [_SHORT] * 10 + [_LONG] * 7
    rows = _rows(old, wanted, limit=30_000)
    assert len(rows) == 3 + 10 + 20_000 + 2
    ids = [row.id for row in rows if str(row.recorded_on) == _LONG]
    assert ids == sorted(ids, reverse=True)
    assert _rows(old, AuditFilter(status=503), limit=20) == []


@pytest.mark.parametrize(
    ("wanted", "indexed"),
    [
        (AuditFilter(), False),
        (AuditFilter(status=200), False),
        (AuditFilter(status=404), True),
        (AuditFilter(outcome="completed"), False),
        (AuditFilter(outcome="cut"), True),
        (AuditFilter(tenant_id=UUID(int=1)), True),
        (AuditFilter(tenant_id=UUID(int=1), since=datetime(2026, 1, 1, tzinfo=UTC)), True),
        (AuditFilter(tenant_id=UUID(int=1), status=404), False),
        (AuditFilter(model="m"), False),
    ],
)
def test_days_are_asked_at_once_only_for_what_an_index_leads_to(wanted: AuditFilter, *, indexed: bool) -> None:
    """With a further condition each day might be read whole before the first row of any is shown."""
    assert wanted.is_indexed is indexed


def _indexed(stores: Stores, definition: str = _OF_REQUESTS) -> dict[str, bool]:
    return {row["relname"]: row["indisvalid"] for row in asyncio.run(stores.fetch(_INDEXED, definition))}


def _found(stores: Stores, request: str) -> int:
    return len(_rows(stores, AuditFilter(request=request), limit=50))


def _rows(stores: Stores, wanted: AuditFilter, *, limit: int) -> list[AuditRow]:
    reader = AuditReader(ReportingDatabase(stores.database_url, connect_timeout_seconds=5))
    return asyncio.run(reader.newest(wanted, limit=limit))
