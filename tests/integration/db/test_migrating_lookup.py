"""Long days of the audit log are not indexed while everybody waits; whatever has an index, requests are found."""

import asyncio

import asyncpg
import pytest

from neuronetz_gateway.db.migrating import current_revision, downgrade, head, migrate
from neuronetz_gateway.db.reporting import ReportingDatabase
from neuronetz_gateway.embedded.postgres import EmbeddedPostgres
from neuronetz_gateway.repositories.audit_rows import AuditFilter
from neuronetz_gateway.services.audit_reading import AuditReader
from tests.support.stores import Stores, asyncpg_dsn

_FILL = """insert into audit_log (id, recorded_on, request_id, endpoint, model, outcome, status, admitted_at, address,
                                  user_agent)
           select gen_random_uuid(), $1::text::date, 'r' || n, '', '', 'refused', 429, now(), '', repeat('x', 900)
           from generate_series(1, $2) n"""
_LONG, _SHORT, _LATER = "2026-01-05", "2026-01-06", "2026-01-07"
_INDEXED = """select t.relname, i.indisvalid from pg_index i join pg_class t on t.oid = i.indrelid
              where t.relname like 'audit_log\\_%' and i.indpred is null
                and pg_get_indexdef(i.indexrelid) like '%(request_id)'"""


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


def _indexed(stores: Stores) -> dict[str, bool]:
    return {row["relname"]: row["indisvalid"] for row in asyncio.run(stores.fetch(_INDEXED))}


def _found(stores: Stores, request: str) -> int:
    async def found() -> int:
        reader = AuditReader(ReportingDatabase(stores.database_url, connect_timeout_seconds=5))
        return len(await reader.newest(AuditFilter(request=request), limit=50))

    return asyncio.run(found())
