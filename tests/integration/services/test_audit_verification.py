"""The verifier over logs that nobody has tampered with: it must find nothing."""

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from neuronetz_gateway.db.reporting import ReportingDatabase
from neuronetz_gateway.domain.audit import Outcome
from neuronetz_gateway.domain.audit_chain import row_text
from neuronetz_gateway.domain.identifier import uuid7
from neuronetz_gateway.repositories.chained_rows import ChainedRows
from neuronetz_gateway.services.budgeting import BudgetLedger
from tests.support.audited import Audited, writing
from tests.support.ledgers import completed, make_ask, make_database, refusal_of, running_ledger


@pytest.fixture
async def audited(database_url: str) -> AsyncIterator[Audited]:
    database = make_database(database_url)
    yield Audited(database_url, database)
    await database.aclose()


@pytest.mark.promise("D3")
async def test_the_text_of_a_row_is_the_same_in_python_as_in_postgres(audited: Audited) -> None:
    days = await audited.fill()
    async with ReportingDatabase(audited.url, connect_timeout_seconds=5).snapshot() as connection:
        chained = ChainedRows(connection)
        await chained.hold()
        found = {row.id: row async for part in chained.of_day(days[0]) for row in part}
    rows = await audited.sql("select id::text, audit_text_r1(a) text from audit_log a where recorded_on = $1", days[0])
    assert len(rows) == len(found) > 30
    for row in rows:
        assert row_text(found[row["id"]].values) == row["text"]


@pytest.mark.promise("D3")
async def test_a_log_of_several_days_verifies_with_everything_in_it_signed(audited: Audited) -> None:
    days = await audited.fill()
    assert (await audited.verify()).findings == []
    await audited.sql("select audit_log_ensure_partitions($1, 1)", days[1])  # its rows lay in the default one
    report = await audited.verify()
    assert report.findings == []
    assert report.rows == await audited.count("audit_log") > 100
    assert (report.chains, report.checkpoints) == (9, 12)
    assert (report.unsigned_rows, report.unchained_rows) == (0, 0)


@pytest.mark.promise("D3")
async def test_nothing_is_found_while_everything_is_written_at_once(audited: Audited) -> None:
    """Settlements, refusals, releases that race refusals of the same id, a sweep, checkpoints, all the time."""
    caller = await audited.caller()
    chance = random.Random(3)
    checkpoints = audited.checkpoints()
    over = asyncio.Event()

    async def serve(ledger: BudgetLedger) -> None:
        for _ in range(40):
            ask = make_ask()
            reservation = await ledger.reserve(caller, ask)
            kind = chance.randrange(4)
            if kind == 0:
                ledger.refuse(refusal_of(caller, ask))
            if kind < 2:
                ledger.settle(completed(reservation, 0, Outcome.NOT_FORWARDED))
            elif kind == 2:
                ledger.settle(completed(reservation))
            else:
                ledger.refuse(refusal_of(caller, make_ask()))
                ledger.settle(completed(reservation, 10, Outcome.CALLER_LEFT))

    async def sign() -> int:
        count = 0
        while not over.is_set():
            count += await checkpoints.write() is not None
        return count

    async def verify() -> int:
        count = 0
        while not over.is_set():
            assert (await audited.verify()).findings == []
            count += 1
        return count

    async with running_ledger(audited.url) as one, running_ledger(audited.url) as other:
        signing, verifying = asyncio.create_task(sign()), asyncio.create_task(verify())
        await asyncio.gather(*(serve(ledger) for ledger in (one, other) for _ in range(4)))
    over.set()
    signed, verified = await signing, await verifying
    report = await audited.verify()
    assert report.findings == []
    assert report.rows == await audited.count("audit_log")
    assert len(await audited.sql("select id from audit_log group by id having count(*) > 1")) == 0
    assert min(signed, verified) > 1
    print(f"D3: {report.rows} rows by two processes, {signed} checkpoints, {verified} verifications meanwhile: clean")


async def test_nothing_is_found_after_batches_that_were_halved(audited: Audited) -> None:
    caller = await audited.caller()
    async with running_ledger(audited.url) as ledger:
        for place in range(20):
            refusal = refusal_of(caller, make_ask())
            ledger.refuse(refusal if place % 5 else replace(refusal, reason="a\0b"))  # no text for Postgres
    assert await audited.count("audit_log") == 16
    assert (await audited.verify()).findings == []


@pytest.mark.promise("D3")
async def test_a_chain_ends_at_midnight_where_another_begins(audited: Audited) -> None:
    """A call of 23:59 that comes again after midnight finds its row of the day before, whichever of the two it was."""
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    lane, ids = uuid7(), [uuid7() for _ in range(3)]
    async with writing(audited.url) as writer:
        await writer.refuse(lane, midnight - timedelta(microseconds=1), 3, ids)
        await audited.checkpoints().write()
        await writer.refuse(lane, midnight, 1)
        await writer.set_clock(midnight + timedelta(seconds=5))
        rows = [(each, None, None, "", "", "", "", "", 503, "", midnight - timedelta(seconds=1), 1) for each in ids]
        assert await writer.connection.fetchval("select refuse_r2($1, $2)", lane, rows) == 0
        await writer.settle(lane, midnight + timedelta(seconds=9), 2)
    report = await audited.verify()
    assert report.findings == []
    assert (report.rows, report.chains, report.unsigned_rows) == (6, 2, 3)
    assert await audited.sql("select count(*) from audit_heads") == [(2,)]


@pytest.mark.promise("D3")
async def test_rows_of_before_the_chains_are_counted_apart(audited: Audited) -> None:
    days = await audited.fill(batches=1)
    old = """insert into audit_log (id, recorded_on, request_id, endpoint, model, outcome, status, admitted_at, address,
                                    user_agent) values ($1, $2, '', '', '', 'completed', 200, now(), '', '')"""
    for day in (days[0] - timedelta(days=3), days[0]):  # an older version may have served beside ours for a while
        await audited.sql(old, uuid7(), day)
    report = await audited.verify()
    assert (report.unchained_rows, report.findings) == (2, [])
    late = uuid7()
    await audited.sql(old, late, days[1])
    report = await audited.verify()
    assert [(finding.wrong, finding.id) for finding in report.findings] == [("row_unchained", str(late))]


@pytest.mark.promise("D3")
async def test_rows_that_are_put_into_a_day_after_it_was_signed_are_found(audited: Audited) -> None:
    """Made with the real function, so that hashes and heads hold: behind an old chain, as a chain of their own.

    The next checkpoint signs them like everything that has moved.
    """
    days = await audited.fill(writers=1, batches=1)
    at = datetime.combine(days[0], datetime.min.time(), UTC) + timedelta(hours=20)
    lane = (await audited.sql("select writer from audit_heads where day = $1", days[0]))[0][0]
    for writer_id in (lane, uuid7()):
        async with writing(audited.url) as writer:
            await writer.refuse(writer_id, at, 2)
    for _ in range(2):
        found = (await audited.verify()).findings
        assert [finding.wrong for finding in found] == ["rows_unsigned", "rows_unsigned"]
        assert {finding.day for finding in found} == {days[0]}
        assert str(lane) in {finding.writer for finding in found}
        await audited.checkpoints().write()


async def test_only_rows_since_a_day_are_read_if_that_is_wanted(audited: Audited) -> None:
    days = await audited.fill(batches=1)
    await audited.sql("update audit_log set model = 'other' where recorded_on = $1", days[0])
    assert (await audited.verify()).wrong > 0
    report = await audited.verify(since=days[1])
    assert (report.findings, report.chains) == ([], 6)
