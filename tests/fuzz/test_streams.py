"""Whatever the upstream sends, however it arrives: one reading, nothing lost, nothing raised."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz import meters, records, upstream_answers
from fuzz.target import Chopped
from neuronetz_gateway.domain.usage import MeterReading
from neuronetz_gateway.surfaces.body_metering import WHOLE_BYTES, BodyMeter, UsageKeys
from neuronetz_gateway.surfaces.editing import UsageRemover
from neuronetz_gateway.surfaces.framing import Lines
from neuronetz_gateway.surfaces.responses_metering import ResponsesMeter
from neuronetz_gateway.surfaces.whole_records import WholeRecords
from tests.support.fuzzing import bent, bounded, chopped, pieces_of

KEYS = UsageKeys("prompt_tokens", "completion_tokens", inside="usage")


@pytest.mark.promise("B7", "N1")
@pytest.mark.parametrize("kind", range(len(meters.METERS)))
def test_every_meter_reads_any_stream_in_one_way(kind: int) -> None:
    @bounded(60)
    @given(chopped(kind, pieces_of(meters.TARGET) | st.sampled_from(meters.STREAMS[kind]).flatmap(_bent)))
    def reads(stream: Chopped) -> None:
        meters.reads_alike(kind, stream)

    reads()


@pytest.mark.promise("S5", "N1")
@pytest.mark.parametrize("kind", range(len(records.PASSINGS)))
def test_of_any_stream_nothing_is_left_out_but_what_is_meant_to_be(kind: int) -> None:
    @bounded(60)
    @given(chopped(kind, pieces_of(records.TARGET) | st.sampled_from(records.STREAMS[kind]).flatmap(_bent)))
    def passes(stream: Chopped) -> None:
        records.passes_alike(kind, stream)

    passes()


@bounded(100)
@given(chopped(0, st.lists(st.sampled_from([b"\n", b"a", b"b" * 11, b"c" * 24, b"d" * 25]), max_size=12).map(b"".join)))
def test_lines_are_cut_and_let_go_in_one_way(stream: Chopped) -> None:
    records.cuts_alike(stream)


@pytest.mark.promise("S3", "N1")
@pytest.mark.parametrize("kind", range(2))
def test_any_answer_of_the_upstream_is_framed_in_one_way_or_refused(kind: int) -> None:
    @bounded(80)
    @given(
        chopped(
            kind,
            pieces_of(upstream_answers.TARGET) | st.sampled_from(upstream_answers.STREAMS).flatmap(_bent_answer),
        )
    )
    def frames(stream: Chopped) -> None:
        upstream_answers.frames_alike(stream)

    frames()


def _bent(stream: bytes) -> st.SearchStrategy[bytes]:
    return bent(stream, (*meters.WORDS, *records.WORDS))


def _bent_answer(stream: bytes) -> st.SearchStrategy[bytes]:
    return bent(stream, upstream_answers.WORDS)


@pytest.mark.parametrize("kind", [b"[]", b"{}", b"5", b"null", b'"\\u0000"'])
def test_a_type_that_is_no_text_breaks_no_stream(kind: bytes) -> None:
    """Found by reading: a type was looked for in a set, so that a list or an object, which has no hash, raised a
    TypeError in the middle of an answer instead of passing as one of the many records that mean nothing here.
    """
    record = b'data: {"type":%s,"of":"error"}\n\n' % kind
    assert WholeRecords(b"\n\n").feed(record) == record
    meter = ResponsesMeter()
    meter.feed(record)
    assert meter.reading() == MeterReading()


@pytest.mark.promise("S5")
@pytest.mark.parametrize("passing", [WholeRecords(b"\n\n").feed, UsageRemover().feed])
def test_the_third_newline_behind_a_record_is_not_lost(passing: Callable[[bytes], bytes]) -> None:
    """Found by reading: three newlines hold two ends of a record, one from the left, one from the right; where a word
    made the records be looked at, the last newline belonged to neither, so that it was dropped.
    """
    stream = b'data: an error, the "usage"\n\n\n'
    assert passing(stream) + passing(b"data: more\n\n") == stream + b"data: more\n\n"


def test_a_usage_record_is_found_behind_three_newlines() -> None:
    """Found by reading: it was left out or not, depending on where its chunk had begun."""
    usage = b'data: {"choices":[],"usage":{}}\n\n'
    remover = UsageRemover()
    assert remover.feed(b'data: "usage"\n\n\n' + usage).rstrip(b"\n") == b'data: "usage"'


def test_a_long_line_is_let_go_whole_as_in_pieces() -> None:
    """Found by fuzzing: a line past the bound was read where its end came in the chunk that took it past."""
    for chunks in ([b"x" * 11 + b"\nshort\n"], [b"x" * 6, b"x" * 5 + b"\nshort\n"], [b"x" * 11, b"\nshort\n"]):
        lines = Lines(limit_bytes=10)
        assert [line for chunk in chunks for line in lines.cut(chunk)] == [b"short"]
        assert lines.overlong == 1
        assert lines.rest() == b""


def test_a_large_answer_without_thoughts_has_none_wherever_it_is_cut() -> None:
    """Found by reading: behind the key of an empty thought at the end of a chunk the pattern saw no quote to close it,
    so that the answer seemed to hold thoughts, for which its figure is not believed.
    """
    head = b'{"text":"' + b"a" * WHOLE_BYTES + b'","reasoning":"'
    rest = b'","usage":{"prompt_tokens":3,"completion_tokens":4}}'
    for chunks in ([head + rest], [head, rest]):
        meter = BodyMeter(KEYS, runs_twice=True)
        for chunk in chunks:
            meter.feed(chunk)
        assert meter.reading() == MeterReading(3, 4, terminated=True)


def test_a_large_answer_may_begin_with_more_white_space_than_is_held() -> None:
    """Found by reading: where only white space had come so far, the answer was taken for none that begins as one."""
    rest = b'{"usage":{"prompt_tokens":3,"completion_tokens":4}}'
    for chunks in ([b" " * (WHOLE_BYTES + 1) + rest], [b" " * (WHOLE_BYTES + 1), rest]):
        meter = BodyMeter(KEYS)
        for chunk in chunks:
            meter.feed(chunk)
        assert meter.reading() == MeterReading(3, 4, terminated=True)
