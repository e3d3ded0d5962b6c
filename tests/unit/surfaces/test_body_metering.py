"""The usage of a whole body is found, whatever its size."""

import orjson
import pytest

from neuronetz_gateway.domain.usage import MeterReading
from neuronetz_gateway.surfaces.body_metering import WHOLE_BYTES, BodyMeter, UsageKeys

CHAT = UsageKeys("prompt_eval_count", "eval_count", done=True)
EMBED = UsageKeys("prompt_eval_count", None)
OPENAI = UsageKeys("prompt_tokens", "completion_tokens", inside="usage")

FILLER = 'lorem \\"eval_count\\":7 ' * (WHOLE_BYTES // 20)
LOGPROBS = [{"token": "x", "logprob": -0.5}] * (WHOLE_BYTES // 30)


def reading(keys: UsageKeys, body: bytes, size: int = 1 << 30) -> MeterReading:
    meter = BodyMeter(keys)
    for start in range(0, len(body), size):
        meter.feed(body[start : start + size])
    assert meter.counted_output == 0
    return meter.reading()


BODIES = [
    (CHAT, {"message": {"content": "x"}, "done": True, "prompt_eval_count": 5, "eval_count": 9}),
    (CHAT, {"message": {"content": FILLER}, "done": True, "prompt_eval_count": 5, "eval_count": 9}),
    (CHAT, {"response": "x", "done": True, "prompt_eval_count": 5, "eval_count": 9, "logprobs": LOGPROBS}),
    (OPENAI, {"choices": [{}], "usage": {"prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 14}}),
    (OPENAI, {"choices": [{"message": FILLER}], "usage": {"prompt_tokens": 5, "completion_tokens": 9}}),
]


@pytest.mark.promise("B7")
@pytest.mark.parametrize(("keys", "body"), BODIES)
@pytest.mark.parametrize("size", [1 << 30, 65_536, 1_000, 13])
def test_a_body_reads_the_same_in_chunks_of_any_size(keys: UsageKeys, body: dict[str, object], size: int) -> None:
    assert reading(keys, orjson.dumps(body), size) == MeterReading(5, 9, terminated=True)
    assert reading(keys, orjson.dumps(body) + b"\n", size) == MeterReading(5, 9, terminated=True)


def test_the_figures_of_a_large_body_are_found_at_every_cut() -> None:
    body = orjson.dumps({"data": "x" * WHOLE_BYTES, "prompt_eval_count": 123456, "done": True})
    for cut in range(len(body) - 60, len(body)):
        meter = BodyMeter(CHAT)
        meter.feed(body[:cut])
        meter.feed(body[cut:])
        assert meter.reading() == MeterReading(123456, None, terminated=True)


def test_an_embedding_of_ten_megabytes_is_read_without_being_held() -> None:
    row = b"[" + b",".join([b"0.123456789"] * 1000) + b"]"
    meter = BodyMeter(EMBED)
    meter.feed(b'{"model":"m","embeddings":[')
    for _ in range(800):
        meter.feed(row + b",")
        assert sum(map(len, meter._held)) <= WHOLE_BYTES + len(row) + 1
    meter.feed(row + b'],"total_duration":14143917,"prompt_eval_count":800}')
    assert not meter._held
    assert meter.reading() == MeterReading(800, None, terminated=True)


@pytest.mark.parametrize(
    ("keys", "body", "expected"),
    [
        (CHAT, b'{"message":{"content":"x"},"done":false}', MeterReading()),
        (CHAT, b'{"message":{"content":"x"},"done":tr', MeterReading()),
        (CHAT, b'{"done":true,"done_reason":"load"}', MeterReading(terminated=True)),
        (CHAT, b'{"error":"no"}', MeterReading(failed=True)),
        (OPENAI, b'{"error":{"message":"no"}}', MeterReading(failed=True)),
        (OPENAI, b'{"choices":[],"usage":null}', MeterReading(terminated=True)),
        (OPENAI, b'{"usage":{"prompt_tokens":0,"completion_tokens":0}}', MeterReading(0, 0, terminated=True)),
        (EMBED, b"", MeterReading()),
        (EMBED, b"\xff\x00", MeterReading()),
        (EMBED, b"[]", MeterReading()),
        (EMBED, b'{"embeddings":[[' + b"1," * WHOLE_BYTES, MeterReading()),
        (EMBED, b"[" + b"1," * WHOLE_BYTES + b"1}", MeterReading()),
    ],
)
def test_a_body_that_is_not_whole_is_not_terminated(keys: UsageKeys, body: bytes, expected: MeterReading) -> None:
    """What broke off has told no figure, so its bytes are noted: they are all there is to charge by."""
    uncounted_bytes = 0 if expected.terminated or expected.failed else len(body)
    assert reading(keys, body) == expected._replace(uncounted_bytes=uncounted_bytes)


def test_a_tool_call_cannot_lower_the_charge_of_a_large_answer() -> None:
    arguments = {"eval_count": 1, "prompt_eval_count": 1, "x": "x" * WHOLE_BYTES}
    body = {"message": {"tool_calls": [arguments]}, "done": True, "prompt_eval_count": 50, "eval_count": 60}
    for ordered in (body, dict(reversed(body.items()))):
        assert reading(CHAT, orjson.dumps(ordered), 4096) == MeterReading(50, 60, terminated=True)


@pytest.mark.promise("B7")
@pytest.mark.parametrize("filler", ["x", FILLER])
@pytest.mark.parametrize(
    ("keys", "thought"),
    [
        (CHAT, {"message": {"content": "{}", "thinking": "hm"}}),
        (OPENAI, {"choices": [{"message": {"reasoning": "hm"}}]}),
    ],
)
def test_of_a_model_that_was_run_twice_no_output_figure_is_believed(
    keys: UsageKeys, thought: dict[str, object], filler: str
) -> None:
    """With `format` a thinking model is run twice and only the second run is reported (OLLAMA §3.3): in an answer of
    one piece nothing could be counted, so that all its thoughts had been free."""
    usage = {
        "done": True,
        "prompt_eval_count": 5,
        "eval_count": 9,
        "usage": {"prompt_tokens": 5, "completion_tokens": 9},
    }
    for answer, runs_twice, output in ((thought, True, None), (thought, False, 9), ({}, True, 9)):
        meter = BodyMeter(keys, runs_twice=runs_twice)
        meter.feed(orjson.dumps({**answer, "filler": filler, **usage}))
        assert meter.reading() == MeterReading(5, output, terminated=True)
