"""Days that are old enough go, signed away, without holding anybody up."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from neuronetz_gateway.db.database import Database
from neuronetz_gateway.domain.audit import Outcome
from neuronetz_gateway.domain.checkpoint import parsed_document
from neuronetz_gateway.domain.identifier import uuid7
from neuronetz_gateway.errors import UnavailableError
from neuronetz_gateway.services.audit_retention import AuditRetention
from neuronetz_gateway.services.budgeting import BudgetLedger
from neuronetz_gateway.services.checkpoint_sinks import FileSink, read_lines
from tests.support.audited import Audited, writing
from tests.support.ledgers import completed, make_ask, make_database, running_ledger


@pytest.fixture
async def audited(database_url: str) -> AsyncIterator[Audited]:
    database = make_database(database_url)
    yield Audited(database_url, database)
    await database.aclose()


@pytest.fixture
async def patient(database_url: str) -> AsyncIterator[Database]:
    database = make_database(database_url, lock_timeout_seconds=0.05)
    yield database
    await database.aclose()


_SUMS = """select scope_id, period, window_start, sum(charged_tokens)::bigint from audit_log a
           cross join lateral budget_windows_r1(a.tenant_id, a.api_key_id, a.day, a.month) w
           where a.day is not null and w.scope_id is not null group by 1, 2, 3"""
_CARRIED = "select scope_id, period, window_start, charged from audit_carried"


async def _sums(audited: Audited) -> dict[tuple[object, ...], int]:
    sums: dict[tuple[object, ...], int] = {}
    for row in await audited.sql(f"{_SUMS} union all {_CARRIED}"):
        sums[tuple(row[:3])] = sums.get(tuple(row[:3]), 0) + row[3]
    return {window: charged for window, charged in sums.items() if charged}


async def test_days_past_retention_are_signed_away_then_dropped_with_what_they_charged_carried_on(
    audited: Audited, patient: Database, tmp_path: Path
) -> None:
    days = await audited.fill(writers=2, batches=2)
    charged = await _sums(audited)
    file = tmp_path / "checkpoints.jsonl"
    checkpoints = audited.checkpoints(sink=FileSink(file))
    assert await AuditRetention(patient, checkpoints, days=0).round() == []
    assert await AuditRetention(patient, checkpoints, days=2).round() == []
    retention = AuditRetention(patient, checkpoints, days=1)
    assert await retention.round() == days[:1]
    assert await retention.round() == []
    assert await AuditRetention(patient, checkpoints, days=0).round() == []
    report = await audited.verify(checkpoints=file)
    assert (report.findings, report.dropped_days, report.chains) == ([], 1, 4)
    assert {row[0] for row in await audited.sql("select distinct recorded_on from audit_log")} == set(days[1:])
    assert await audited.sql("select to_regclass($1)", f"audit_log_{days[0]:%Y%m%d}") == [(None,)]
    assert await _sums(audited) == charged

    *_, (last, _) = read_lines(file)
    assert last is not None
    document = parsed_document(last.document)
    assert document.dropped == (days[0],)
    assert {head.chain.day for head in document.heads} == {days[0]}
    assert len(document.heads) == 2


async def test_a_day_without_a_partition_goes_too(audited: Audited, patient: Database) -> None:
    old = datetime.now(UTC) - timedelta(days=30)
    async with writing(audited.url) as writer:
        await writer.refuse(uuid7(), old, 3)
        await writer.refuse(uuid7(), datetime.now(UTC), 2)
    assert await audited.count("audit_log_default") == 3
    assert await AuditRetention(patient, audited.checkpoints(), days=7).round() == [old.date()]
    report = await audited.verify()
    assert (report.findings, report.rows, report.dropped_days) == ([], 2, 1)


@pytest.mark.promise("D3")
async def test_a_day_that_is_gone_though_no_checkpoint_names_it_is_found(audited: Audited) -> None:
    days = await audited.fill(writers=2, batches=1)
    await audited.sql("select audit_log_drop_day($1)", days[0])
    found = (await audited.verify()).findings
    assert {finding.wrong for finding in found} == {"rows_missing", "head_differs"}
    assert {finding.day for finding in found} == {days[0]}
    assert len({finding.writer for finding in found}) == 2


async def test_a_day_that_somebody_reads_goes_another_time(audited: Audited, patient: Database) -> None:
    days = await audited.fill(writers=1, batches=1)
    before = await audited.count("audit_log")
    retention = AuditRetention(patient, audited.checkpoints(), days=1, tries=2)
    async with audited.connection() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.fetch("select 1 from audit_log limit 1")
        with pytest.raises(UnavailableError):
            await retention.round()
        await transaction.rollback()
    assert await audited.count("audit_log") == before
    assert await audited.count("audit_carried") == 0
    assert (await audited.verify()).findings == []  # named as dropped, there yet
    signed = await audited.count("audit_checkpoints")
    assert await retention.round() == days[:1]
    assert await audited.count("audit_checkpoints") == signed  # it was signed away the first time
    assert (await audited.verify()).findings == []


async def test_dropping_holds_up_nobody(audited: Audited, patient: Database) -> None:
    """Ten days go while two processes serve: nothing fails, nothing is lost, settlements go on."""
    caller = await audited.caller()
    today = datetime.now(UTC).date()
    first = today - timedelta(days=20)
    await audited.sql("select audit_log_ensure_partitions($1, 10)", first)
    await audited.sql(
        """insert into audit_log (id, recorded_on, request_id, endpoint, model, outcome, status, admitted_at, address,
                                  user_agent)
           select gen_random_uuid(), $1::date + n % 10, '', '', '', 'completed', 200, now(), '', ''
           from generate_series(1, 20000) n""",
        first,
    )
    over, waits = asyncio.Event(), []
    async with running_ledger(audited.url) as one, running_ledger(audited.url) as other:

        async def serve(ledger: BudgetLedger) -> None:
            while not over.is_set():
                reservation = await ledger.reserve(caller, make_ask())
                begun = time.perf_counter()
                await ledger._settling.submit(completed(reservation, 7, Outcome.COMPLETED))
                waits.append(time.perf_counter() - begun)

        serving = [asyncio.create_task(serve(ledger)) for ledger in (one, other) for _ in range(8)]
        await asyncio.sleep(0.3)
        begun = time.perf_counter()
        dropped = await AuditRetention(patient, audited.checkpoints(), days=7).round()
        took = time.perf_counter() - begun
        over.set()
        await asyncio.gather(*serving)
    assert len(dropped) == 10
    assert (await audited.verify()).findings == []
    assert await audited.usage(caller) == {(7 * len(waits), 0)}
    waits.sort()
    print(
        f"retention: 10 days of 2,000 rows dropped in {took:.2f} s beside {len(waits)} settlements, of which the"
        f" slowest took {waits[-1] * 1000:.0f} ms, half of them {waits[len(waits) // 2] * 1000:.1f} ms"
    )
