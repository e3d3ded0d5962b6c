"""Checkpoints: written once, chained, signed; what is done to them shows."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from neuronetz_gateway.checkpoint_signing import CheckpointKeys, CheckpointSigner
from neuronetz_gateway.domain.audit import Outcome
from neuronetz_gateway.domain.checkpoint import parsed_document
from neuronetz_gateway.services.audit_checkpoints import AuditCheckpoints
from neuronetz_gateway.services.checkpoint_sinks import FileSink, StreamSink, read_lines
from tests.support.audited import SECRET, Audited
from tests.support.ledgers import completed, make_ask, make_database, running_ledger

OTHER = b"another secret of the tests, also of 32 bytes"


@pytest.fixture
async def audited(database_url: str) -> AsyncIterator[Audited]:
    database = make_database(database_url)
    yield Audited(database_url, database)
    await database.aclose()


async def _serve(audited: Audited, count: int = 1) -> None:
    caller = await audited.caller()
    async with running_ledger(audited.url) as ledger:
        for _ in range(count):
            ledger.settle(completed(await ledger.reserve(caller, make_ask()), 7, Outcome.COMPLETED))


async def test_a_checkpoint_lists_what_has_moved_then_none_is_written_until_something_moves(audited: Audited) -> None:
    checkpoints = audited.checkpoints()
    assert await checkpoints.write() is None
    await _serve(audited, 3)
    first = await checkpoints.write()
    assert first is not None
    document = parsed_document(first.document)
    heads = await audited.sql("select writer, day, sequence, hash from audit_heads")
    assert [(head.chain.writer, head.chain.day, head.sequence, head.hash) for head in document.heads] == heads
    assert (document.number, document.previous, document.dropped) == (1, "", ())
    assert abs((document.at - datetime.now(UTC)).total_seconds()) < 60
    assert await checkpoints.write() is None
    await _serve(audited)
    second = await checkpoints.write()
    assert second is not None
    assert parsed_document(second.document).previous == first.digest
    assert len(parsed_document(second.document).heads) == 1
    assert json.dumps(json.loads(second.document), separators=(",", ":"), sort_keys=True) == second.document


async def test_of_many_who_find_it_due_one_writes_it(audited: Audited) -> None:
    await _serve(audited)
    databases = [make_database(audited.url) for _ in range(6)]
    everybody = [
        AuditCheckpoints(database, CheckpointSigner(SECRET), None, every_seconds=300) for database in databases
    ]
    await asyncio.gather(*(each.round() for each in everybody))
    await _serve(audited)
    await asyncio.gather(*(each.round() for each in everybody))
    assert await audited.count("audit_checkpoints") == 1  # the next is due in five minutes
    await asyncio.gather(*(audited.checkpoints(every_seconds=0.001).round() for _ in range(3)))
    assert await audited.count("audit_checkpoints") == 2
    for database in databases:
        await database.aclose()


_TAMPERED = {
    "update audit_checkpoints set document = replace(document, '\"sequence', '\"sequenc') || ' ' where number = 2":
        "checkpoint 2 has a signature that is not that of its document",
    "update audit_checkpoints set signature = sha512(signature) where number = 3":
        "checkpoint 3 has a signature that is not that of its document",
    "update audit_checkpoints set document = 'nothing' where number = 1": "checkpoint 1 cannot be read",
    "update audit_checkpoints set at = at + interval '1 second' where number = 2":
        "checkpoint 2 stands under another number, time or key",
    "update audit_checkpoints set key_id = 'ffffffffffffffff' where number = 3":
        "checkpoint 3 stands under another number, time or key",
    "delete from audit_checkpoints where number = 2": "checkpoint 2 is missing",
    "delete from audit_checkpoints where number < 3": "checkpoints 1 to 2 are missing",
    "delete from audit_checkpoints where number = 3": "none lists more than",
    "delete from audit_checkpoints": "none lists more than 0",
    "update audit_checkpoints set number = number + 1 where number = 3": "checkpoint 3 is missing",
    "update audit_checkpoints a set document = b.document, signature = b.signature from audit_checkpoints b"
    " where a.number = 2 and b.number = 1": "checkpoint 3 does not follow upon the one before it",
}  # fmt: skip


@pytest.mark.promise("D3")
async def test_whatever_is_done_to_checkpoints_is_found(audited: Audited) -> None:
    checkpoints = audited.checkpoints()
    for _ in range(3):
        await _serve(audited, 2)
        await checkpoints.write()
    assert (await audited.verify()).findings == []
    await audited.sql("create table kept as select * from audit_checkpoints")
    for statement, words in _TAMPERED.items():
        await audited.sql(statement)
        report = await audited.verify()
        assert any(words in finding.words for finding in report.findings), f"{statement}: {report.findings}"
        await audited.sql("delete from audit_checkpoints")
        await audited.sql("insert into audit_checkpoints select * from kept")
    assert (await audited.verify()).findings == []


@pytest.mark.promise("D3")
async def test_a_checkpoint_that_is_taken_back_shows_in_the_file_of_the_second_sink(
    audited: Audited, tmp_path: Path
) -> None:
    """In the database alone nothing shows: rows, hashes, heads, lists all agree. docs/AUDIT.md says so."""
    file = tmp_path / "checkpoints.jsonl"
    checkpoints = audited.checkpoints(sink=FileSink(file))
    await checkpoints.round()
    for _ in range(2):
        await _serve(audited)
        await checkpoints.write()
        await checkpoints.emit()
    assert (await audited.verify(checkpoints=file)).findings == []
    last = await audited.sql("select document from audit_checkpoints where number = 2")
    (head,) = parsed_document(last[0]["document"]).heads
    await audited.sql("update audit_log set charged_tokens = 0 where writer = $1", head.chain.writer)
    await audited.sql(
        "update audit_log a set hash = sha256(convert_to(audit_text_r1(a), 'UTF8')) where writer = $1",
        head.chain.writer,
    )
    await audited.sql(
        "update audit_heads h set hash = a.hash from audit_log a where a.writer = h.writer and h.writer = $1",
        head.chain.writer,
    )
    await audited.sql("delete from audit_checkpoints where number = 2")
    await audited.sql("delete from audit_listed where writer = $1", head.chain.writer)
    assert (await audited.verify()).findings == []
    report = await audited.verify(checkpoints=file)
    assert [finding.wrong for finding in report.findings] == ["sink_differs", "checkpoint_differs"]
    assert report.findings[1].writer == str(head.chain.writer)


async def test_checkpoints_of_a_key_of_long_ago_are_vouched_for_by_those_that_follow(audited: Audited) -> None:
    """KEY_PEPPER rotated twice: neither of the two that are configured signed what is oldest."""
    for secret in (b"1" * 32, b"2" * 32, b"3" * 32):
        await _serve(audited)
        await audited.checkpoints(secret).write()
    assert (await audited.verify(b"3" * 32, b"2" * 32)).findings == []
    assert (await audited.verify(b"3" * 32)).findings == []
    report = await audited.verify(b"2" * 32)
    (finding,) = report.findings
    assert "checkpoint 3 was signed by a key that is not known here" in finding.words
    assert CheckpointSigner(b"3" * 32).key_id in finding.words
    assert report.unsigned_rows == 1
    assert len((await audited.verify(OTHER)).findings) == 3
    assert (await audited.verify(keys=CheckpointKeys([CheckpointSigner(b"3" * 32).public_key]))).findings == []
    await audited.sql("update audit_checkpoints set document = document || ' ' where number = 1")
    assert (await audited.verify(b"3" * 32)).wrong > 0


async def test_a_sink_that_fails_is_counted_then_gets_everything(audited: Audited, tmp_path: Path) -> None:
    events: list[str] = []
    folder = tmp_path / "sink"
    sink = FileSink(folder / "checkpoints.jsonl")
    checkpoints = audited.checkpoints(sink=sink, every_seconds=0.0001, happened=events.append)
    for _ in range(3):
        await _serve(audited)
        await checkpoints.round()
    assert events == ["checkpoint_sink_failed"] * 3
    folder.mkdir()
    assert await checkpoints.emit() == 3
    assert await checkpoints.emit() == 0
    await _serve(audited)
    await checkpoints.write()  # a crash before it is sent
    assert await audited.checkpoints(sink=sink).emit() == 1
    assert [_number(each) for each, _ in read_lines(folder / "checkpoints.jsonl")] == [1, 2, 3, 4]
    assert (await audited.verify(checkpoints=folder / "checkpoints.jsonl")).findings == []


def _number(checkpoint: object) -> int:
    return int(getattr(checkpoint, "number", 0))


async def test_a_database_that_went_back_in_time_is_told_of_and_nothing_in_the_file_is_lost(
    audited: Audited, tmp_path: Path
) -> None:
    file = tmp_path / "checkpoints.jsonl"
    events: list[str] = []
    checkpoints = audited.checkpoints(sink=FileSink(file), happened=events.append)
    for _ in range(3):
        await _serve(audited)
        await checkpoints.write()
    await checkpoints.emit()
    await audited.sql("delete from audit_checkpoints where number > 1")
    await audited.sql("update audit_listed set sequence = 0")
    await checkpoints.emit()
    assert events == ["checkpoint_sink_contradicts"]
    await checkpoints.write()
    assert await checkpoints.emit() == 1
    assert await checkpoints.emit() == 0
    assert [_number(each) for each, _ in read_lines(file)] == [1, 2, 3, 2]
    words = " ".join(finding.words for finding in (await audited.verify(checkpoints=file)).findings)
    assert "has two checkpoints 2 that differ" in words
    assert "checkpoint 2 of the database is another one" in words
    assert f"checkpoint 3 of {file} is missing in the database" in words


class _Stream:
    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def write(self, data: bytes) -> int:
        self.lines += data.splitlines()
        return len(data)

    def flush(self) -> None:
        pass


async def test_on_a_stream_the_last_one_comes_again_after_a_start_then_each_once(audited: Audited) -> None:
    stream = _Stream()
    numbers: Callable[[], list[int]] = lambda: [json.loads(line)["number"] for line in stream.lines]  # noqa: E731
    for _ in range(2):
        checkpoints = audited.checkpoints(sink=StreamSink(stream), every_seconds=0.0001)  # type: ignore[arg-type]  # a part of one
        await checkpoints.round()
        for _ in range(2):
            await _serve(audited)
            await checkpoints.round()
            await checkpoints.emit()
    assert numbers() == [1, 2, 2, 3, 4]
