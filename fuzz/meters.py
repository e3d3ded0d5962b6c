"""Target: every meter reads the same in a stream, whatever its bytes are, however they arrive."""

from collections.abc import Callable

from fuzz.target import Chopped, Target, must, packed
from neuronetz_gateway.domain.usage import MeterReading
from neuronetz_gateway.surfaces.anthropic_metering import MessagesMeter
from neuronetz_gateway.surfaces.body_metering import BodyMeter, UsageKeys
from neuronetz_gateway.surfaces.completions import has_content as text_has_content
from neuronetz_gateway.surfaces.metering import NdjsonMeter, SseMeter
from neuronetz_gateway.surfaces.openai import chat_has_content
from neuronetz_gateway.surfaces.responses_metering import ResponsesMeter
from neuronetz_gateway.surfaces.surface import Meter
from tests.unit.surfaces import recorded, recorded_anthropic, recorded_responses

METERS: tuple[Callable[[], Meter], ...] = (
    NdjsonMeter,
    lambda: SseMeter(chat_has_content),
    lambda: SseMeter(text_has_content),
    MessagesMeter,
    ResponsesMeter,
    lambda: BodyMeter(UsageKeys("prompt_eval_count", "eval_count", done=True), runs_twice=True),
    lambda: BodyMeter(UsageKeys("prompt_tokens", "completion_tokens", inside="usage"), runs_twice=True),
    lambda: BodyMeter(UsageKeys("prompt_eval_count", None)),
)

STREAMS = (
    (recorded.CHAT_NDJSON, recorded.GENERATE_NDJSON, recorded.BROKEN_NDJSON, recorded.SPACED_NDJSON),
    (recorded.OPENAI_SSE, recorded.OPENAI_LOST_ERROR, recorded.OPENAI_SSE_WITHOUT_USAGE),
    (recorded.COMPLETIONS_SSE,),
    (recorded_anthropic.MESSAGES_SSE, recorded_anthropic.FAILED_SSE, recorded_anthropic.SPACED_SSE),
    (recorded_responses.TEXT_SSE, recorded_responses.THOUGHTS_SSE, recorded_responses.FAILED_SSE),
    (recorded.CHAT_NDJSON, b'{"thinking":"","eval_count":12345,"prompt_eval_count" : 3,\x0f"done":true}'),
    (recorded_anthropic.WHOLE_BODY, b'{\x0f"reasoning":"x","usage":{"prompt_tokens":77,"completion_tokens":8}}'),
    (b'{\x0f"prompt_eval_count":\n12}\n',),
)
"""For each meter what it is made to read."""

WORDS = (
    b"data:", b"data: [DONE]\n\n", b"event: ", b"error", b"\n", b"\n\n", b"\r\n", b'"done":false}', b'"done":true',
    b'{"done":true}', b'"done": false', b'"finish_reason":null}]}\n\n', b'"content":"', b'"reasoning":"', b'"usage":{}',
    b'"tool_calls":[{', b'"error":', b'"type":[]', b'"type":{}', b'"delta":"', b'"delta":[]', b'"choices":[]',
    b'"model":""', b"event: response.output_text.delta\ndata: {", b'"type":"response.output_text.delta"}',
    b'"type":"response.x.done"}', b'"type":"response.completed"', b'"response":{"usage":{"input_tokens":3}}',
    b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"', b'"}}\n\n',
    b'"type":"message_stop"', b'"type":"message_delta","usage":{"output_tokens":4}', b'"partial_json":[[]]',
    b'"eval_count":', b'"prompt_eval_count":', b'"thinking":"', b'"type":"reasoning"', b"1e999", b"-1", b"\xff",
    b"\\u0000", b"99999999999999999999", b"null", b"{", b"}", b"[", b"]", b'"', b"\x0e", b"\x0f",
)  # fmt: skip


def read(make: Callable[[], Meter], chunks: list[bytes]) -> MeterReading:
    """Raises Finding: what was counted while the stream ran has gone down, or is not what counts at its end."""
    meter, counted = make(), 0
    for chunk in chunks:
        meter.feed(chunk)
        must(meter.counted_output >= counted, "the count went down")
        counted = meter.counted_output
    reading = meter.reading()
    must(reading.counted_output >= counted, "the reading is below the count")
    return reading


def reads_alike(kind: int, chopped: Chopped) -> None:
    make = METERS[kind % len(METERS)]
    whole = read(make, [chopped.stream] if chopped.stream else [])
    for chunks in (chopped.chunks(), chopped.stream.splitlines(keepends=True)):
        in_pieces = read(make, chunks)
        must(in_pieces == whole, kind % len(METERS), "in pieces", in_pieces, "as a whole", whole)


def check(data: bytes) -> None:
    chopped = Chopped.of(data)
    reads_alike(chopped.kind, chopped)


def _seeds() -> list[bytes]:
    return [packed(kind, stream) for kind, streams in enumerate(STREAMS) for stream in streams]


TARGET = Target(check, _seeds, WORDS)
