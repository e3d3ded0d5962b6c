"""The answers of /v1/responses."""

from typing import Any

from tests.support.fake_ollama_asks import Ask
from tests.support.fake_ollama_formats import CREATED, EVENT_STREAM, PLAIN_JSON, Usage, encode, event


class Responses:
    stream_type = EVENT_STREAM
    body_type = PLAIN_JSON
    stream_headers = (("Cache-Control", "no-cache"), ("Connection", "keep-alive"))

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._id = f"resp_{ask.seed % 999999:06d}"
        self._place = {"item_id": f"msg_{ask.seed % 999999:06d}", "output_index": 0, "content_index": 0}
        self._sequence = 0
        self._text = ""

    def opening(self) -> list[bytes]:
        begun = {"response": self._response("in_progress", [], None)}
        return [
            self._event("response.created", begun),
            self._event("response.in_progress", begun),
            self._event("response.output_item.added", {"output_index": 0, "item": self._item("in_progress", [])}),
            self._event("response.content_part.added", self._place | {"part": _part("")}),
        ]

    def token(self, text: str) -> bytes:
        self._text += text
        return self._event("response.output_text.delta", self._place | {"delta": text, "logprobs": []})

    def closing(self, usage: Usage | None, reason: str) -> list[bytes]:
        del reason  # Ollama says "completed" also where the cap ended it
        part = _part(self._text)
        item = self._item("completed", [part])
        return [
            self._event("response.output_text.done", self._place | {"text": self._text, "logprobs": []}),
            self._event("response.content_part.done", self._place | {"part": part}),
            self._event("response.output_item.done", {"output_index": 0, "item": item}),
            self._event("response.completed", {"response": self._response("completed", [item], usage)}),
        ]

    def failure(self, message: str) -> list[bytes]:
        """Nothing at all: the stream just ends."""
        del message
        return []

    def whole(self, text: str, usage: Usage | None, reason: str) -> bytes:
        del reason
        return encode(self._response("completed", [self._item("completed", [_part(text)])], usage)) + b"\n"

    def _event(self, name: str, value: dict[str, Any]) -> bytes:
        """Go writes the keys of a map in order."""
        whole = value | {"type": name, "sequence_number": self._sequence}
        self._sequence += 1
        return event(dict(sorted(whole.items())), name)

    def _item(self, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self._place["item_id"],
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": content,
        }

    def _response(self, status: str, output: list[dict[str, Any]], usage: Usage | None) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": "response",
            "created_at": CREATED,
            "completed_at": CREATED if status == "completed" else None,
            "status": status,
            "incomplete_details": None,
            "model": self._ask.model,
            "previous_response_id": None,
            "instructions": self._ask.fields.get("instructions"),
            "output": output,
            "error": None,
            "tools": [],
            "tool_choice": "auto",
            "truncation": "disabled",
            "parallel_tool_calls": True,
            "text": {"format": {"type": "text"}},
            "top_p": 1.0,
            "presence_penalty": 0,
            "frequency_penalty": 0,
            "top_logprobs": 0,
            "temperature": 1.0,
            "reasoning": None,
            "usage": None if usage is None else _usage(usage),
            "max_output_tokens": self._ask.output_cap,
            "max_tool_calls": None,
            "store": False,
            "background": False,
            "service_tier": "default",
            "metadata": {},
            "safety_identifier": None,
            "prompt_cache_key": None,
        }


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt_tokens,
        "output_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    }
