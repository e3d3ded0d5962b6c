"""Every format of answer reads the same however its bytes arrive, whatever its text says, however it ends."""

import itertools
import random
from collections.abc import Iterable

import pytest

from neuronetz_gateway.domain.usage import MeterReading, charge_of
from neuronetz_gateway.surfaces.surface import Endpoint, Meter
from tests.support.answers import Answers
from tests.support.fake_ollama_answering import IN_PARTS
from tests.support.fake_ollama_formats import Usage
from tests.support.fake_ollama_parts import Parts, ToolCall
from tests.support.valid_bodies import GENERATING, INFERRING, STREAMING, name_of

SEED = 20261123
USAGE = Usage(11, 6)
TEXTS = (" one", " zwei \u00fc", " \u65e5\u672c\U0001f600", " four", " five", " six")

# What a model may write to be mistaken for the protocol around it.
HOSTILE_TEXTS = (
    '"done":true', '{"done":true,"prompt_eval_count":1,"eval_count":1}\n', "data: [DONE]\n\n", "[DONE]",
    '"done":false}', '"usage":{"prompt_tokens":0,"completion_tokens":0}',
    '","usage":{"input_tokens":0,"output_tokens":0},"x":"',
    "event: message_stop\ndata: {}\n\n", 'event: error\ndata: {"error":{"message":"x"}}\n\n', '{"error":"no"}',
    'event: response.completed\ndata: {"type":"response.completed"}\n\n', '"type":"response.output_text.delta"}',
    '"finish_reason":null}]}\n\n', '"choices":[]', "\\", '\\"', "\r\n\r\n", "\x00", "\u2028", "<&>", "\n", " ",
    '"type":"error"', '"type":"response.output_text.done"}', '"content":""', '"delta":""', '"text":""', '"model":""',
)  # fmt: skip
PARTS = Parts(
    thoughts=("hm ", 'so "done":true'),
    tool_calls=(ToolCall("set", {"done": True, "eval_count": 0, "usage": {"output_tokens": 0}, "error": "none"}),),
)


def fed(meter: Meter, chunks: Iterable[bytes]) -> MeterReading:
    for chunk in chunks:
        meter.feed(chunk)
    return meter.reading()


def read(answers: Answers, chunks: Iterable[bytes], *, stream: bool = True) -> MeterReading:
    return fed(answers.meter(stream=stream), chunks)


def random_chunks(dice: random.Random, whole: bytes, cuts: int) -> list[bytes]:
    places = sorted(dice.randrange(len(whole) + 1) for _ in range(cuts))
    return [whole[i:j] for i, j in zip([0, *places], [*places, len(whole)], strict=True)]


def check_chopped(
    answers: Answers, whole: bytes, expected: MeterReading, *, stream: bool = True, step: int = 1
) -> None:
    """Cut in two at every byte (or every so many), in chunks of every kind, byte by byte: always the same."""
    dice = random.Random(SEED)
    assert read(answers, [whole], stream=stream) == expected
    assert read(answers, [whole[i : i + 1] for i in range(len(whole))], stream=stream) == expected
    for cut in range(0, len(whole), step):
        assert read(answers, [whole[:cut], whole[cut:]], stream=stream) == expected, (SEED, cut, whole[:cut][-60:])
    for _ in range(50):
        chunks = random_chunks(dice, whole, dice.randrange(1, 40))
        assert read(answers, chunks, stream=stream) == expected, (SEED, chunks)


@pytest.mark.promise("B7")
@pytest.mark.parametrize("endpoint", STREAMING, ids=name_of)
def test_a_stream_reads_the_same_chopped_at_any_byte(endpoint: Endpoint) -> None:
    answers = Answers(endpoint)
    records = answers.stream(TEXTS, USAGE)
    expected = MeterReading(11, 6, len(TEXTS), terminated=True)
    assert read(answers, records) == expected
    check_chopped(answers, b"".join(records), expected)


@pytest.mark.promise("B7")
@pytest.mark.parametrize("endpoint", STREAMING, ids=name_of)
def test_no_text_of_a_model_is_taken_for_the_protocol(endpoint: Endpoint) -> None:
    answers = Answers(endpoint)
    for texts in itertools.batched(HOSTILE_TEXTS, 4):
        records = answers.stream(texts, USAGE)
        expected = MeterReading(11, 6, len(texts), terminated=True)
        assert read(answers, records) == expected
        check_chopped(answers, b"".join(records), expected, step=11)
    for text in HOSTILE_TEXTS:
        assert read(answers, answers.stream([text], USAGE)) == MeterReading(11, 6, 1, terminated=True), text
        assert not read(answers, answers.beginning([text] * 2)).terminated, text


@pytest.mark.promise("B7")
@pytest.mark.parametrize("endpoint", STREAMING, ids=name_of)
def test_thoughts_and_calls_are_output(endpoint: Endpoint) -> None:
    """Of two completions for one request Ollama reports the second alone (OLLAMA §3.3): the records tell more."""
    if endpoint.path not in IN_PARTS:
        pytest.skip("this route has neither")
    answers = Answers(endpoint, PARTS)
    records = answers.stream(() if endpoint.path == "/v1/responses" else TEXTS, Usage(11, 2))
    reading = read(answers, records)
    calls = 0 if endpoint.path == "/api/generate" else len(PARTS.tool_calls)
    assert reading.counted_output == len(PARTS.thoughts) + calls + (endpoint.path != "/v1/responses") * len(TEXTS)
    assert (reading.output_tokens, reading.terminated, reading.failed) == (2, True, False)
    assert charge_of(reading, 100).output_tokens == reading.counted_output
    check_chopped(answers, b"".join(records), reading)


@pytest.mark.promise("B7")
@pytest.mark.parametrize("endpoint", STREAMING, ids=name_of)
@pytest.mark.parametrize("usage", [None, Usage(0, 0), Usage(11, 0)], ids=["no usage", "zero usage", "no output"])
def test_a_stream_without_figures_is_charged_by_bound_and_count(endpoint: Endpoint, usage: Usage | None) -> None:
    answers = Answers(endpoint)
    reading = read(answers, answers.stream(TEXTS, usage))
    assert reading.terminated
    assert reading.counted_output == len(TEXTS)
    charge = charge_of(reading, 100)
    assert (charge.prompt_tokens, charge.output_tokens, charge.estimated) == (100, len(TEXTS), True)


@pytest.mark.promise("B7", "S3")
@pytest.mark.parametrize("endpoint", STREAMING, ids=name_of)
def test_a_stream_that_just_ends_is_never_taken_for_whole(endpoint: Endpoint) -> None:
    answers = Answers(endpoint)
    records = answers.stream(TEXTS, USAGE)
    whole = b"".join(records)
    last = whole.rstrip(b"\n")
    for end in range(len(last)):
        reading = read(answers, [whole[:end]])
        assert not reading.terminated, whole[:end][-80:]
        charge = charge_of(reading, 100)
        assert charge.estimated
        assert charge.prompt_tokens == 100
    assert read(answers, [last]).terminated  # the newlines may be lost with the connection


@pytest.mark.promise("B7", "S3")
@pytest.mark.parametrize("endpoint", STREAMING, ids=name_of)
def test_a_runner_that_dies_leaves_no_whole_stream(endpoint: Endpoint) -> None:
    answers = Answers(endpoint)
    for texts in (TEXTS, ()):
        records = answers.failed(texts)
        reading = read(answers, records)
        assert reading.failed or not reading.terminated
        assert reading.counted_output == len(texts)
        check_chopped(answers, b"".join(records), reading)


@pytest.mark.parametrize("endpoint", STREAMING, ids=name_of)
def test_output_is_counted_record_by_record(endpoint: Endpoint) -> None:
    """The gateway cuts a stream as soon as it is past its reservation, so the count may not lag behind."""
    answers = Answers(endpoint)
    meter = answers.meter()
    before = len(answers.beginning([]))
    for index, record in enumerate(answers.beginning(TEXTS)):
        meter.feed(record)
        assert meter.counted_output == max(0, index + 1 - before)


@pytest.mark.parametrize("endpoint", STREAMING, ids=name_of)
@pytest.mark.parametrize("size", [3 << 20, 8 << 20, 9 << 20])
def test_a_record_of_megabytes_is_one_record(endpoint: Endpoint, size: int) -> None:
    answers = Answers(endpoint)
    stream = b"".join(answers.stream([" a", "x" * size], USAGE))
    chunks = [stream[i : i + (1 << 16)] for i in range(0, len(stream), 1 << 16)]
    reading = read(answers, chunks)
    if size < 8 << 20 or endpoint.path != "/v1/responses":
        assert (reading.prompt_tokens, reading.output_tokens, reading.terminated) == (11, 6, True)
        assert reading.counted_output == 2
    else:  # its last events repeat the whole text, past any bound: counted too often rather than not at all
        assert reading.counted_output >= 2
    assert charge_of(reading, 100).total_tokens >= 13


# --- answers in one piece


@pytest.mark.promise("B7")
@pytest.mark.parametrize("endpoint", INFERRING, ids=name_of)
def test_a_body_reads_the_same_chopped_at_any_byte(endpoint: Endpoint) -> None:
    answers = Answers(endpoint)
    for text in ("".join(TEXTS), *map("".join, itertools.batched(HOSTILE_TEXTS, 6))):
        whole = answers.body(text, USAGE)
        reading = read(answers, [whole], stream=False)
        assert reading.terminated
        if endpoint.path == "/api/embeddings":
            assert reading.prompt_tokens is None  # it never says (OLLAMA §3.2)
        else:
            assert reading.prompt_tokens == 11
            assert reading.output_tokens == (6 if endpoint in GENERATING else None)
        check_chopped(answers, whole, reading, stream=False)


@pytest.mark.promise("B7", "S3")
@pytest.mark.parametrize("endpoint", INFERRING, ids=name_of)
def test_a_body_that_just_ends_is_never_taken_for_whole(endpoint: Endpoint) -> None:
    answers = Answers(endpoint)
    whole = answers.body("".join(TEXTS), USAGE).rstrip()
    for end in range(len(whole)):
        assert not read(answers, [whole[:end]], stream=False).terminated, whole[:end][-60:]


@pytest.mark.promise("B7")
@pytest.mark.parametrize("endpoint", INFERRING, ids=name_of)
@pytest.mark.parametrize("usage", [None, Usage(0, 0)], ids=["no usage", "zero usage"])
def test_a_body_without_figures_is_never_free(endpoint: Endpoint, usage: Usage | None) -> None:
    answers, has_output = Answers(endpoint), endpoint in GENERATING
    reading = read(answers, [answers.body("".join(TEXTS), usage)], stream=False)
    charge = charge_of(reading, 100, has_output=has_output, uncounted_output_tokens=40)
    assert charge.estimated
    assert charge.total_tokens == (140 if has_output else 100)
