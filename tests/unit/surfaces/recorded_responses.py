"""Streams of /v1/responses as Ollama writes them (OLLAMA §7): the keys of each event in their order."""

import json
from typing import Any

_PLACE = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
_TEXT = ' grün 日本 {\\"type\\":\\"response.completed\\"} \\ntwo'


def event(kind: str, **fields: Any) -> bytes:
    """One event, compact, its keys in order as Go writes a map."""
    whole = dict(sorted((fields | {"type": kind, "sequence_number": 0}).items()))
    data = json.dumps(whole, ensure_ascii=False, separators=(",", ":"))
    return f"event: {kind}\ndata: {data}\n\n".encode()


def usage(prompt: int, output: int) -> dict[str, Any]:
    return {
        "input_tokens": prompt,
        "output_tokens": output,
        "total_tokens": prompt + output,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    }


def response(status: str, figures: dict[str, Any] | None, text: str = "") -> dict[str, Any]:
    output = [{"type": "message", "content": [{"type": "output_text", "text": text}]}] if text else []
    return {"id": "resp_1", "status": status, "error": None, "output": output, "usage": figures}


def text_delta(text: str) -> bytes:
    return event("response.output_text.delta", delta=text, logprobs=[], **_PLACE)


def ended(text: str, figures: dict[str, Any] | None, kind: str = "response.completed") -> bytes:
    """The last events, which repeat the whole text four times."""
    part = {"type": "output_text", "text": text}
    return (
        event("response.output_text.done", text=text, logprobs=[], **_PLACE)
        + event("response.content_part.done", part=part, **_PLACE)
        + event("response.output_item.done", output_index=0, item={"type": "message", "content": [part]})
        + event(kind, response=response(kind.rpartition(".")[2], figures, text))
    )


OPENED = (
    event("response.created", response=response("in_progress", None))
    + event("response.in_progress", response=response("in_progress", None))
    + event("response.output_item.added", output_index=0, item={"type": "message", "content": []})
    + event("response.content_part.added", part={"type": "output_text", "text": ""}, **_PLACE)
)

TEXT_SSE = OPENED + text_delta(" a") + text_delta(_TEXT) + text_delta('"') + ended(f' a{_TEXT}"', usage(11, 3))
TEXT_RECORDS = 3

CALL = '{"delta":"","type":"response.completed","error":true}'
THOUGHTS_SSE = (
    event("response.created", response=response("in_progress", None))
    + event("response.reasoning_summary_text.delta", item_id="rs_1", summary_index=0, delta="hm ")
    + event("response.reasoning_text.delta", item_id="rs_1", delta=" m")
    + event("response.reasoning_summary_text.done", item_id="rs_1", text="hm  m")
    + event("response.refusal.delta", delta="no", **_PLACE)
    + event("response.function_call_arguments.delta", item_id="fc_1", delta=CALL)
    + event("response.function_call_arguments.done", item_id="fc_1", arguments=CALL)
    + event("response.completed", response=response("completed", usage(7, 9)))
)
THOUGHTS_RECORDS = 4

INCOMPLETE_SSE = OPENED + text_delta(" a") + ended(" a", usage(11, 1), "response.incomplete")
NO_USAGE_SSE = OPENED + text_delta(" a") + ended(" a", None)
ZERO_USAGE_SSE = OPENED + text_delta(" a") + ended(" a", usage(0, 0))
SILENT_SSE = OPENED + text_delta(" a") + text_delta(" b")
FAILED_SSE = OPENED + text_delta(" a") + event("response.failed", response=response("failed", None))
ERROR_SSE = OPENED + event("error", code="x", message="y", param=None)
NESTED_ERROR_SSE = b'data: {"error":{"message":"x"}}\n\n'
UNTYPED_ERROR_SSE = b"event: error\ndata: {}\n\n"
# The keys in another order, spaces, no event lines: as another server might write them.
SPACED_SSE = (
    b'data: {"type": "response.output_text.delta", "delta": " a.done"}\n\n'
    b'data: {"type": "response.output_text.delta", "delta": ""}\n\n'
    b'data: {"type": "response.custom.done", "text": " a"}\n\n'
    b'data: {"type": "response.completed", "response": {"usage": {"input_tokens": 3, "output_tokens": 4}}}\n\n'
)
