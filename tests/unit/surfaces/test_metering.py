"""Meters see the same in a stream however its bytes arrive."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuronetz_gateway.domain.usage import MeterReading
from neuronetz_gateway.surfaces.framing import Lines
from neuronetz_gateway.surfaces.metering import NdjsonMeter, RecordMeter, SseMeter
from neuronetz_gateway.surfaces.openai import chat_has_content
from tests.unit.surfaces import recorded


def sse_meter() -> SseMeter:
    return SseMeter(chat_has_content)


def bytes_of_calls(stream: bytes) -> int:
    return sum(len(line) for line in stream.split(b"\n") if b'"tool_calls":[{' in line)


STREAMS = [
    pytest.param(
        NdjsonMeter,
        recorded.CHAT_NDJSON,
        MeterReading(
            11,
            6,
            recorded.CHAT_NDJSON_RECORDS,
            terminated=True,
            uncounted_bytes=bytes_of_calls(recorded.CHAT_NDJSON),
        ),
        id="chat",
    ),
    pytest.param(NdjsonMeter, recorded.GENERATE_NDJSON, MeterReading(11, 2, 2, terminated=True), id="generate"),
    pytest.param(NdjsonMeter, recorded.BROKEN_NDJSON, MeterReading(counted_output=1, failed=True), id="error"),
    pytest.param(NdjsonMeter, recorded.LOAD_NDJSON, MeterReading(terminated=True), id="load"),
    pytest.param(NdjsonMeter, recorded.SPACED_NDJSON, MeterReading(3, 4, 1, terminated=True), id="spaced"),
    pytest.param(NdjsonMeter, b"", MeterReading(), id="nothing"),
    pytest.param(
        sse_meter,
        recorded.OPENAI_SSE,
        MeterReading(
            11, 6, recorded.OPENAI_RECORDS, terminated=True, uncounted_bytes=bytes_of_calls(recorded.OPENAI_SSE)
        ),
        id="openai",
    ),
    pytest.param(
        sse_meter,
        recorded.OPENAI_SSE_WITHOUT_USAGE,
        MeterReading(
            counted_output=recorded.OPENAI_RECORDS,
            terminated=True,
            uncounted_bytes=bytes_of_calls(recorded.OPENAI_SSE_WITHOUT_USAGE),
        ),
        id="openai without usage",
    ),
    pytest.param(
        sse_meter, recorded.OPENAI_LOST_ERROR, MeterReading(counted_output=1, failed=True), id="openai lost error"
    ),
    pytest.param(sse_meter, b'data: {"error":{"message":"x"}}\n\n', MeterReading(failed=True), id="openai error"),
]


def read(make: type[RecordMeter], chunks: list[bytes]) -> MeterReading:
    meter = make()
    for chunk in chunks:
        meter.feed(chunk)
    return meter.reading()


@pytest.mark.promise("B7")
@pytest.mark.parametrize(("make", "stream", "expected"), STREAMS)
def test_a_stream_reads_the_same_split_at_every_byte(
    make: type[RecordMeter], stream: bytes, expected: MeterReading
) -> None:
    assert read(make, [stream]) == expected
    assert read(make, [stream[i : i + 1] for i in range(len(stream))]) == expected
    assert read(make, stream.splitlines(keepends=True)) == expected
    for cut in range(len(stream)):
        assert read(make, [stream[:cut], stream[cut:]]) == expected


@settings(deadline=None)
@given(st.data())
def test_a_stream_reads_the_same_in_chunks_of_any_size(data: st.DataObject) -> None:
    for make, stream in ((NdjsonMeter, recorded.CHAT_NDJSON), (sse_meter, recorded.OPENAI_SSE)):
        cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
        chunks = [stream[i:j] for i, j in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
        whole, chopped = make(), make()
        whole.feed(stream)
        for chunk in chunks:
            chopped.feed(chunk)
        assert chopped.counted_output == whole.counted_output
        assert chopped.reading() == whole.reading()


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                b"data:",
                b"data: [DONE]\n\n",
                b'"done":false}',
                b'"done":true',
                b"\n",
                b"{",
                b"}",
                b'"choices":[1,null]',
                b'"finish_reason":null}]}\n\n',
                b'"content":"',
                b'"usage":{"prompt_tokens":-1}',
                b"\xff\x00",
                b"[]",
            ]
        )
        | st.binary(max_size=8),
        max_size=12,
    )
)
def test_no_meter_raises_on_garbage_nor_reads_it_in_two_ways(pieces: list[bytes]) -> None:
    for make in (NdjsonMeter, sse_meter):
        chopped, whole = make(), make()
        for piece in pieces:
            chopped.feed(piece)
        whole.feed(b"".join(pieces))
        assert chopped.reading() == whole.reading()


@pytest.mark.parametrize(
    ("make", "record"),
    [
        (NdjsonMeter, recorded.native_chat('"content":"x"').encode() + b"\n"),
        (sse_meter, recorded.openai_chunk('"content":"x"')),
        (sse_meter, recorded.openai_chunk('"content":"","reasoning":"x"')),
    ],
)
def test_output_is_counted_while_the_stream_runs(make: type[RecordMeter], record: bytes) -> None:
    meter = make()
    for expected in range(1, 4):
        meter.feed(record)
        assert meter.counted_output == expected
    meter.feed(record * 2)
    assert meter.counted_output == 5


@pytest.mark.parametrize(
    "payload",
    [
        '"content":""',
        '"content":null',
        '"content":"","reasoning":""',
        '"content":"","tool_calls":[]',
    ],
)
def test_an_openai_record_without_output_does_not_count(payload: str) -> None:
    meter = sse_meter()
    meter.feed(recorded.openai_chunk(payload) + recorded.openai_chunk(payload, '"stop"'))
    assert meter.reading() == MeterReading()


def test_absurd_counts_of_the_upstream_are_no_counts() -> None:
    meter = NdjsonMeter()
    meter.feed(b'{"done":true,"prompt_eval_count":-5,"eval_count":18446744073709551615}\n')
    assert meter.reading() == MeterReading(terminated=True)


def test_an_overlong_line_is_let_go_and_counted_once() -> None:
    lines = Lines(limit_bytes=100)
    assert lines.cut(b"a\n" + b"b" * 60) == [b"a"]
    assert lines.cut(b"b" * 60) == []
    assert lines.overlong == 1
    assert lines.cut(b"b" * 60) == []
    assert lines.cut(b"b\nc\nd") == [b"c"]
    assert lines.overlong == 1
    assert lines.rest() == b"d"
    assert lines.rest() == b""


def test_a_meter_holds_no_more_than_its_bound_of_an_endless_record() -> None:
    meter = NdjsonMeter()
    for _ in range(9):
        meter.feed(b"x" * (1 << 20))
    assert meter.reading() == MeterReading(counted_output=1)
    meter.feed(b'y\n{"done":true}\n')
    assert meter.reading() == MeterReading(counted_output=1, terminated=True)
