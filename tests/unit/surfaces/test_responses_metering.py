"""What a Responses stream consumed is read the same however its bytes arrive."""

from time import perf_counter

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuronetz_gateway.domain.usage import MeterReading
from neuronetz_gateway.surfaces.framing import RECORD_LIMIT_BYTES
from neuronetz_gateway.surfaces.responses import RESPONSES
from neuronetz_gateway.surfaces.responses_metering import ResponsesMeter
from neuronetz_gateway.surfaces.surface import Call
from tests.unit.surfaces import recorded_responses as recorded

STREAMS = [
    pytest.param(recorded.TEXT_SSE, MeterReading(11, 3, recorded.TEXT_RECORDS, terminated=True), id="text"),
    pytest.param(
        recorded.THOUGHTS_SSE,
        MeterReading(7, 9, recorded.THOUGHTS_RECORDS, terminated=True, uncounted_bytes=len(recorded.CALL)),
        id="thoughts",
    ),
    pytest.param(recorded.INCOMPLETE_SSE, MeterReading(11, 1, 1, terminated=True), id="incomplete"),
    pytest.param(recorded.NO_USAGE_SSE, MeterReading(counted_output=1, terminated=True), id="no usage"),
    pytest.param(recorded.ZERO_USAGE_SSE, MeterReading(0, 0, 1, terminated=True), id="zero usage"),
    pytest.param(recorded.SILENT_SSE, MeterReading(counted_output=2), id="silent end"),
    pytest.param(recorded.FAILED_SSE, MeterReading(counted_output=1, failed=True), id="failed"),
    pytest.param(recorded.ERROR_SSE, MeterReading(failed=True), id="error"),
    pytest.param(recorded.NESTED_ERROR_SSE, MeterReading(failed=True), id="nested error"),
    pytest.param(recorded.UNTYPED_ERROR_SSE, MeterReading(failed=True), id="untyped error"),
    pytest.param(recorded.SPACED_SSE, MeterReading(3, 4, 1, terminated=True), id="spaced"),
    pytest.param(b"", MeterReading(), id="nothing"),
]


def read(chunks: list[bytes]) -> MeterReading:
    meter = ResponsesMeter()
    for chunk in chunks:
        meter.feed(chunk)
    return meter.reading()


@pytest.mark.promise("B7")
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize(("stream", "expected"), STREAMS)
def test_a_stream_reads_the_same_split_at_every_byte(stream: bytes, expected: MeterReading, newline: bytes) -> None:
    stream = stream.replace(b"\n", newline)
    assert read([stream]) == expected
    assert read([stream[i : i + 1] for i in range(len(stream))]) == expected
    assert read(stream.splitlines(keepends=True)) == expected
    assert read([record + newline * 2 for record in stream.split(newline * 2)]) == expected
    for cut in range(len(stream)):
        assert read([stream[:cut], stream[cut:]]) == expected


PIECES = [
    b"event: response.output_text.delta\n",
    b"event: error\n",
    b"data:",
    b"data: {",
    b"\n\n",
    b"\r\n",
    b'"delta":"x",',
    b'"delta":"",',
    b'"type":"response.output_text.delta"}\n\n',
    b'"type":"response.output_text.done"}',
    b'{"type":"response.completed","response":{"usage":{"input_tokens":-1}}}',
    b'{"type":["error"]}',
    b"{",
    b"}",
    b"\xff\x00",
    b"[]",
]


@settings(deadline=None)
@given(st.lists(st.sampled_from(PIECES) | st.binary(max_size=8), max_size=12))
def test_the_meter_neither_raises_on_garbage_nor_reads_it_in_two_ways(pieces: list[bytes]) -> None:
    assert read(pieces) == read([b"".join(pieces)])


def test_output_is_counted_while_the_stream_runs() -> None:
    meter = ResponsesMeter()
    for expected in range(1, 4):
        meter.feed(recorded.text_delta("x"))
        assert meter.counted_output == expected
    meter.feed(recorded.text_delta("x") * 2)
    assert meter.counted_output == 5
    meter.feed(recorded.text_delta(""))
    assert meter.counted_output == 5


@pytest.mark.promise("B7")
def test_the_last_events_of_an_answer_of_megabytes_are_read() -> None:
    text = "x" * (RECORD_LIMIT_BYTES - 4096)
    stream = recorded.OPENED + recorded.text_delta(text) + recorded.ended(text, recorded.usage(5, 6))
    chunks = [stream[start : start + 65_536] for start in range(0, len(stream), 65_536)]
    started = perf_counter()
    assert read(chunks) == MeterReading(5, 6, 1, terminated=True)
    assert perf_counter() - started < 5  # nothing quadratic


def test_an_event_beyond_the_bound_is_no_end() -> None:
    stream = recorded.ended("x" * (RECORD_LIMIT_BYTES + 65_536), recorded.usage(5, 6))
    assert not read([stream[start : start + 65_536] for start in range(0, len(stream), 65_536)]).terminated


# --- whole bodies

BODY = recorded.response("completed", recorded.usage(5, 6), "x")
THOUGHT = {"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]}
SCHEMA = {"format": {"type": "json_schema", "name": "x", "schema": {"type": "object"}}}


def body_reading(body: bytes, **fields: object) -> MeterReading:
    assert RESPONSES.inference is not None
    call = Call(model="m:latest", streamed=False, prompt_bound_tokens=1, output_asked_tokens=1, body=dict(fields))
    meter = RESPONSES.inference.new_meter(call)
    for start in range(0, len(body), 1000):
        meter.feed(body[start : start + 1000])
    return meter.reading()


@pytest.mark.parametrize("size", [0, 1 << 20])
def test_the_usage_of_a_whole_body_is_read(size: int) -> None:
    body = orjson.dumps(BODY | {"instructions": '"output_tokens":99' * (size // 16)})
    assert body_reading(body) == MeterReading(5, 6, terminated=True)


def test_a_whole_body_that_tells_of_an_error_failed() -> None:
    assert body_reading(orjson.dumps(BODY | {"error": {"code": "x", "message": "y"}})).failed


@pytest.mark.promise("B7")
@pytest.mark.parametrize(
    ("output", "fields", "believed"),
    [
        ([THOUGHT], {"text": SCHEMA}, False),
        ([THOUGHT], {"text": {"format": {"type": "text"}}}, True),
        ([THOUGHT], {"text": {}}, True),
        ([THOUGHT], {}, True),
        ([], {"text": SCHEMA}, True),
        ([{"type": "message", "content": '{"type":"reasoning"}'}], {"text": SCHEMA}, True),
    ],
)
def test_thoughts_beside_a_format_were_a_run_that_nobody_counted(
    output: list[object], fields: dict[str, object], believed: bool
) -> None:
    reading = body_reading(orjson.dumps(BODY | {"output": output}), **fields)
    assert reading == MeterReading(5, 6 if believed else None, terminated=True)
