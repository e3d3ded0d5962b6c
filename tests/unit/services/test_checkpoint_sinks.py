"""The second sink: a file that loses nothing, whoever shares it, whenever its writer dies."""

import asyncio
import json
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from neuronetz_gateway.domain.checkpoint import CheckpointFormatError, SignedCheckpoint, parsed_document, parsed_line
from neuronetz_gateway.services.checkpoint_sinks import FileSink, StreamSink, read_lines, sink_of


def checkpoint(number: int, filling: str = "") -> SignedCheckpoint:
    at = datetime(2027, 1, 1, tzinfo=UTC)
    document = json.dumps(
        {
            "version": 1, "number": number, "at": at.isoformat(), "previous": filling, "key_id": "k", "heads": [],
            "dropped": [],
        }
    )  # fmt: skip
    return SignedCheckpoint(number, at, document, "k", bytes(64))


def test_what_is_appended_is_there_in_its_order_for_its_owner_alone(tmp_path: Path) -> None:
    sink = FileSink(tmp_path / "sink")
    assert sink.last() is None
    assert sink.append([checkpoint(1), checkpoint(2)], None)
    assert sink.append([checkpoint(3, "x" * 200_000)], checkpoint(2))
    assert sink.last() == checkpoint(3, "x" * 200_000)
    assert [(each and each.number, line) for each, line in read_lines(tmp_path / "sink")] == [(1, 1), (2, 2), (3, 3)]
    assert stat.S_IMODE((tmp_path / "sink").stat().st_mode) == 0o600
    assert sink.digests() == {checkpoint(1).digest, checkpoint(2).digest, checkpoint(3, "x" * 200_000).digest}


def test_who_comes_second_appends_nothing(tmp_path: Path) -> None:
    one, other = FileSink(tmp_path / "sink"), FileSink(tmp_path / "sink")
    assert one.append([checkpoint(1)], None)
    assert not other.append([checkpoint(1)], None)
    assert other.append([checkpoint(2)], checkpoint(1))
    assert not one.append([checkpoint(2)], checkpoint(1))


async def test_many_at_once_leave_each_checkpoint_once(tmp_path: Path) -> None:
    async def append(sink: FileSink) -> None:
        for number in range(1, 21):
            last = await asyncio.to_thread(sink.last)
            if (0 if last is None else last.number) == number - 1:
                await asyncio.to_thread(sink.append, [checkpoint(number)], last)

    await asyncio.gather(*(append(FileSink(tmp_path / "sink")) for _ in range(5)))
    numbers = [each and each.number for each, _ in read_lines(tmp_path / "sink")]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("torn", [1, 20, 150])
def test_a_line_that_a_crash_has_torn_is_written_again_and_passed_over(tmp_path: Path, torn: int) -> None:
    file = tmp_path / "sink"
    sink = FileSink(file)
    sink.append([checkpoint(1)], None)
    with file.open("ab") as half:
        half.write(checkpoint(2).line().encode()[:torn])
    assert sink.last() == checkpoint(1)
    assert sink.append([checkpoint(2), checkpoint(3)], checkpoint(1))
    assert [each and each.number for each, _ in read_lines(file)] == [1, 2, 3]
    assert sink.last() == checkpoint(3)


def test_a_line_that_somebody_has_changed_is_none(tmp_path: Path) -> None:
    file = tmp_path / "sink"
    sink = FileSink(file)
    sink.append([checkpoint(1), checkpoint(2), checkpoint(3)], None)
    file.write_bytes(file.read_bytes().replace(b'\\"number\\": 2', b'\\"nmber\\": 2').replace(b"k", b"\xff", 1))
    assert [(each and each.number, line) for each, line in read_lines(file)] == [(None, 1), (None, 2), (3, 3)]
    file.write_bytes(b"nothing at all")
    assert sink.last() is None


def test_the_setting_names_the_sink(tmp_path: Path) -> None:
    with (tmp_path / "stdout").open("w+b") as stdout:
        assert sink_of("", lambda: stdout) is None
        assert isinstance(sink_of(str(tmp_path / "file"), lambda: stdout), FileSink)
        sink = sink_of("stdout", lambda: stdout)
        assert isinstance(sink, StreamSink)
        assert sink.append([checkpoint(1)], None)
        assert not sink.append([checkpoint(2)], None)
        assert sink.last() == checkpoint(1)
        stdout.seek(0)
        line = json.loads(stdout.read())
    assert (line["event"], line["number"], line["document"]) == ("audit_checkpoint", 1, checkpoint(1).document)


_NO_CHECKPOINTS = [
    "", "1", "[]", "{}", "null", '{"version": 1}', "[" * 100_000, '{"version":2,"number":1}', "\ud800",
    '{"version":2,"number":1,"at":"2027-01-01T00:00:00+00:00","previous":"","key_id":"","heads":[],"dropped":[]}',
    '{"version":1,"number":1,"at":"2027-01-01T00:00:00+00:00","previous":"","key_id":"","heads":[[]],"dropped":[]}',
    '{"version":1,"number":1,"at":"2027-01-01","previous":"","key_id":"","dropped":[],"heads":[["a","2027-01-01",1,"00"]]}',
]  # fmt: skip


@pytest.mark.parametrize("text", _NO_CHECKPOINTS, ids=range(len(_NO_CHECKPOINTS)))
def test_what_is_no_checkpoint_is_told_as_such(text: str) -> None:
    with pytest.raises(CheckpointFormatError):
        parsed_document(text)
    with pytest.raises(CheckpointFormatError):
        parsed_line(text)
