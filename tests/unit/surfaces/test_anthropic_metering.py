"""The meter of /v1/messages sees the same in a stream however its bytes arrive."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuronetz_gateway.domain.usage import MeterReading
from neuronetz_gateway.surfaces.anthropic import MESSAGES
from neuronetz_gateway.surfaces.anthropic_metering import MessagesMeter
from neuronetz_gateway.surfaces.surface import Call
from tests.unit.surfaces import recorded_anthropic as recorded

CALL_BYTES = len('{"type":"message_stop","usage":{"output_tokens":0}}')  # in recorded.TOOL_USE
WHOLE_READING = MeterReading(11, 6, recorded.MESSAGES_RECORDS, terminated=True, uncounted_bytes=CALL_BYTES)
STREAMS = [
    pytest.param(recorded.MESSAGES_SSE, WHOLE_READING, id="messages"),
    pytest.param(recorded.MESSAGES_SSE.replace(b"\n", b"\r\n"), WHOLE_READING, id="crlf"),
    pytest.param(recorded.BROKEN_SSE, MeterReading(counted_output=1), id="broken"),
    pytest.param(recorded.FAILED_SSE, MeterReading(failed=True), id="error"),
    pytest.param(b'data: {"type":"error"}\n\n', MeterReading(failed=True), id="error without its name"),
    pytest.param(b"event: error\n", MeterReading(failed=True), id="error without its data"),
    pytest.param(
        recorded.WITHOUT_USAGE_SSE, MeterReading(counted_output=1, terminated=True), id="terminated without usage"
    ),
    pytest.param(recorded.SPACED_SSE, MeterReading(3, 4, 1, terminated=True), id="spaced"),
    pytest.param(b"", MeterReading(), id="nothing"),
]


def read(chunks: list[bytes]) -> MeterReading:
    meter = MessagesMeter()
    for chunk in chunks:
        meter.feed(chunk)
    return meter.reading()


@pytest.mark.promise("B7")
@pytest.mark.parametrize(("stream", "expected"), STREAMS)
def test_a_stream_reads_the_same_split_at_every_byte(stream: bytes, expected: MeterReading) -> None:
    assert read([stream]) == expected
    assert read([stream[i : i + 1] for i in range(len(stream))]) == expected
    assert read(stream.splitlines(keepends=True)) == expected
    assert read([record + b"\n\n" for record in stream.split(b"\n\n")]) == expected
    for cut in range(len(stream)):
        assert read([stream[:cut], stream[cut:]]) == expected


@settings(deadline=None)
@given(st.data())
def test_a_stream_reads_the_same_in_chunks_of_any_size(data: st.DataObject) -> None:
    stream = recorded.MESSAGES_SSE
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    assert read([stream[i:j] for i, j in zip([0, *cuts], [*cuts, len(stream)], strict=True)]) == WHOLE_READING


PIECES = [
    b"event: content_block_delta\n",
    b"event: error",
    b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"',
    b'data: {"type":"content_block_delta","delta":5}\n\n',
    b'data: {"type":"message_delta","usage":{"input_tokens":-1,"output_tokens":true}}\n',
    b'data: {"type":"message_stop"}\n\n',
    b'data: {"type":["error"],"usage":7}\n\n',
    b'a"}}\n\n',
    b'"}}',
    b"\r\n",
    b"\n",
    b"\xff\x00",
]


@settings(deadline=None)
@given(st.lists(st.sampled_from(PIECES) | st.binary(max_size=8), max_size=12))
def test_no_garbage_breaks_the_meter_nor_reads_in_two_ways(pieces: list[bytes]) -> None:
    assert read(pieces) == read([b"".join(pieces)])


@pytest.mark.parametrize("record", recorded.PLAIN_RECORDS)
def test_output_is_counted_while_the_stream_runs(record: bytes) -> None:
    meter = MessagesMeter()
    for expected in range(1, 4):
        meter.feed(record)
        assert meter.counted_output == expected
    meter.feed(record * 2)
    assert meter.counted_output == 5


@pytest.mark.parametrize(
    "inner",
    [
        '"type":"text_delta","text":""',
        '"type":"text_delta"',
        '"type":"text_delta","text":null',
        '"type":"input_json_delta","partial_json":""',
        '"type":"signature_delta","signature":"abc"',
    ],
)
def test_a_record_without_output_does_not_count(inner: str) -> None:
    assert read([recorded.delta(inner)]) == MeterReading()


def test_framing_records_do_not_count() -> None:
    assert read([recorded.MESSAGE_START, recorded.start('"type":"text","text":"x"'), recorded.stop()]) == MeterReading()


def test_the_estimate_in_message_start_is_never_believed() -> None:
    """It is a quarter of the bytes of the request (OLLAMA §3.2), here 2500 where 11 tokens were read."""
    assert read([recorded.MESSAGE_START, recorded.MESSAGE_STOP]) == MeterReading(terminated=True)


def test_absurd_counts_of_the_upstream_are_no_counts() -> None:
    usage = ',"usage":{"input_tokens":-5,"output_tokens":18446744073709551615}'
    assert read([recorded.message_delta(usage)]) == MeterReading()


def test_a_record_of_eight_megabytes_is_read_an_endless_one_let_go() -> None:
    large = recorded.text("x" * (8 << 20))[:-200] + b'"}}\n\n'
    meter = MessagesMeter()
    for at in range(0, len(large), 1 << 20):
        meter.feed(large[at : at + (1 << 20)])
    assert meter.counted_output == 1
    for _ in range(9):
        meter.feed(b"x" * (1 << 20))
    assert meter.counted_output == 2
    meter.feed(b"\n" + recorded.message_delta() + recorded.MESSAGE_STOP)
    assert meter.reading() == MeterReading(11, 6, 2, terminated=True)


@pytest.mark.promise("B7")
def test_a_whole_body_is_read_for_its_own_usage_wherever_it_is_cut() -> None:
    assert MESSAGES.inference is not None
    call = Call(model="m", streamed=False, prompt_bound_tokens=1, output_asked_tokens=1, body={})
    body = recorded.WHOLE_BODY
    for cut in range(len(body)):
        meter = MESSAGES.inference.new_meter(call)
        meter.feed(body[:cut])
        meter.feed(body[cut:])
        assert meter.reading() == MeterReading(11, 6, terminated=True)
    meter = MESSAGES.inference.new_meter(call)
    meter.feed(b'{"type":"error","error":{"type":"api_error","message":"x"}}')
    assert meter.reading() == MeterReading(failed=True)
