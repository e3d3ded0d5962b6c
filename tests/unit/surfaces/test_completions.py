"""A text completion is checked, capped, metered like a chat, in its own format."""

from typing import Any

import orjson
import pytest

from neuronetz_gateway.domain.usage import MeterReading
from neuronetz_gateway.errors import InvalidRequestError
from neuronetz_gateway.surfaces.completions import COMPLETIONS, has_content
from neuronetz_gateway.surfaces.metering import SseMeter
from neuronetz_gateway.surfaces.surface import Call, Inference, RequestRules
from tests.unit.surfaces import recorded

BODY = {"model": "SmolLM2", "prompt": "Once"}
THOUGHTS_SSE = (
    recorded.completion_chunk("", recorded.ZERO_USAGE) * 3
    + recorded.completion_chunk(" a", recorded.ZERO_USAGE)
    + recorded.completion_chunk("", recorded.ZERO_USAGE, '[{"text":"","index":0,"finish_reason":"stop"}]')
    + recorded.completion_chunk("", recorded.TRUE_USAGE, choices="[]")
    + recorded.DONE_RECORD
)
LOST_ERROR_SSE = recorded.completion_chunk(" a", recorded.ZERO_USAGE) + recorded.completion_chunk(
    "", recorded.ZERO_USAGE
).replace(b'"model":"m"', b'"model":""')
NO_USAGE_SSE = recorded.COMPLETIONS_SSE_WITHOUT_USAGE
ZERO_USAGE_SSE = recorded.COMPLETIONS_SSE.replace(recorded.TRUE_USAGE.encode(), recorded.ZERO_USAGE.encode())

STREAMS = [
    pytest.param(recorded.COMPLETIONS_SSE, MeterReading(3, 2, 2, terminated=True), id="whole"),
    pytest.param(THOUGHTS_SSE, MeterReading(3, 2, 4, terminated=True), id="hidden thoughts"),
    pytest.param(LOST_ERROR_SSE, MeterReading(counted_output=1, failed=True), id="lost error"),
    pytest.param(NO_USAGE_SSE, MeterReading(counted_output=2, terminated=True), id="no usage"),
    pytest.param(ZERO_USAGE_SSE, MeterReading(0, 0, 2, terminated=True), id="zero usage"),
    pytest.param(recorded.completion_chunk(" a", ""), MeterReading(counted_output=1), id="silent end"),
    pytest.param(b'data: {"error":{"message":"x"}}\n\n', MeterReading(failed=True), id="error"),
]


def inference() -> Inference:
    assert COMPLETIONS.inference is not None
    return COMPLETIONS.inference


def read(**fields: Any) -> Call:
    return inference().read(BODY | fields, RequestRules())


def sent(granted: int = 100, **fields: Any) -> dict[str, Any]:
    value = orjson.loads(inference().write(read(**fields), granted))
    assert isinstance(value, dict)
    return value


def metered(chunks: list[bytes]) -> MeterReading:
    meter = SseMeter(has_content)
    for chunk in chunks:
        meter.feed(chunk)
    return meter.reading()


@pytest.mark.promise("B7")
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize(("stream", "expected"), STREAMS)
def test_a_stream_reads_the_same_split_at_every_byte(stream: bytes, expected: MeterReading, newline: bytes) -> None:
    stream = stream.replace(b"\n", newline)
    assert metered([stream]) == expected
    assert metered([stream[i : i + 1] for i in range(len(stream))]) == expected
    for cut in range(len(stream)):
        assert metered([stream[:cut], stream[cut:]]) == expected


@pytest.mark.promise("B7")
def test_a_whole_body_is_metered_by_its_usage() -> None:
    meter = inference().new_meter(read())
    meter.feed(b'{"choices":[{"text":"x"}],"usage":{"prompt_tokens":5,"completion_tokens":6,"total_tokens":11}}')
    assert meter.reading() == MeterReading(5, 6, terminated=True)


def test_the_cap_is_max_tokens_alone_which_ollama_obeys() -> None:
    assert read().output_asked_tokens is None
    assert read(max_tokens=7).output_asked_tokens == 7
    assert read(max_completion_tokens=7).output_asked_tokens is None
    assert sent(5, max_tokens=7) == {"model": "smollm2:latest", "prompt": "Once", "max_tokens": 5}
    with pytest.raises(ValueError, match="would not bind"):
        inference().write(read(), 0)


def test_usage_is_always_asked_for_in_a_stream_and_taken_out_where_the_caller_had_not() -> None:
    options = {"include_usage": True}
    assert sent(stream=True)["stream_options"] == options
    assert "stream_options" not in sent()
    editor = inference().new_editor(read(stream=True))
    assert editor is not None
    assert editor.feed(recorded.COMPLETIONS_SSE) == recorded.COMPLETIONS_SSE_WITHOUT_USAGE
    assert inference().new_editor(read(stream=True, stream_options=options)) is None
    assert inference().new_editor(read()) is None


def test_other_fields_pass_but_for_the_dangerous_ones() -> None:
    passing: dict[str, Any] = {"suffix": "end", "echo": True, "n": 1, "stop": ["x"], "seed": 1, "images": 5, "tools": 5}
    assert sent(**passing).items() >= passing.items()
    call = read(_debug_render_only=True, logprobs=500)
    assert call.adjusted == ("_debug_render_only", "logprobs")
    assert call.body["logprobs"] == 20


@pytest.mark.promise("B1")
def test_the_bound_covers_prompt_and_suffix() -> None:
    for field in ("prompt", "suffix"):
        assert read(**{field: "é" * 5000}).prompt_bound_tokens >= 10_000 + 1024 + 16


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": "", "suffix": "x"}, "prompt"),
        ({"prompt": ["x"]}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"suffix": 5}, "suffix"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stream_options": {"Include_Usage": True}}, "stream_options.include_usage"),
        ({"Prompt": "x"}, "prompt"),
        ({"\u017fuffix": "x"}, "suffix"),
    ],
)
def test_what_would_load_a_model_or_be_read_in_two_ways_is_refused(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read(**fields)
    assert caught.value.field == field
