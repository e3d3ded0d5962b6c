"""The Responses route of the demo model, in the very form in which Ollama emits it (openai/responses.go)."""

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from neuronetz_gateway.embedded.demo_call import asked_model, flag_of, parsed, streamed, text_of
from neuronetz_gateway.embedded.demo_generation import (
    Ending,
    Generation,
    Generator,
    RefusedError,
    checked_options,
    finished,
)
from neuronetz_gateway.embedded.demo_http import Answer, Request
from neuronetz_gateway.embedded.demo_ollama import json_answer

EVENTS = "text/event-stream"
HEADERS = {"Cache-Control": "no-cache"}
ID_RANGE = 999_999
TEXTS = {"input_text", "output_text"}

type Record = dict[str, Any]

CONSTANT: Record = {
    "object": "response",
    **dict.fromkeys(("error", "incomplete_details", "previous_response_id", "reasoning", "max_tool_calls")),
    **dict.fromkeys(("safety_identifier", "prompt_cache_key")),
    **dict.fromkeys(("presence_penalty", "frequency_penalty", "top_logprobs"), 0),
    **dict.fromkeys(("store", "background"), False),
    "tools": [],
    "tool_choice": "auto",
    "truncation": "disabled",
    "parallel_tool_calls": True,
    "service_tier": "default",
    "metadata": {},
}


class ResponsesRoutes:
    """The handler; ``draw(n)`` gives a number below n for an id."""

    def __init__(self, generator: Generator, now: Callable[[], datetime], draw: Callable[[int], int]) -> None:
        self._generator = generator
        self._now = now
        self._draw = draw

    async def responses(self, request: Request) -> Answer:
        fields = parsed(request.body)
        model = asked_model(fields)
        spoken = _spoken(fields)
        if fields.get("tools"):
            raise RefusedError(400, f"registry.ollama.ai/library/{model} does not support tools")
        prompt = await self._generator.chat_prompt(spoken)
        options = checked_options(_options(fields), refused_status=400)
        generation = self._generator.generate(prompt, options, _format(fields))
        telling = Telling(self._frame(model, fields), f"msg_{self._draw(ID_RANGE):06d}")
        if flag_of(fields, "stream", False):
            answer = await streamed(generation, lambda parts: _events(telling, parts), EVENTS)
            return Answer(answer.status, answer.content_type, answer.body, HEADERS)
        async with aclosing(generation):
            whole = await finished(generation)
        return json_answer(telling.response(whole.text, whole.ending))

    def _frame(self, model: str, fields: Record) -> Record:
        """What stands in the response from its beginning to its end."""
        created = {"id": f"resp_{self._draw(ID_RANGE):06d}", "created_at": int(self._now().timestamp())}
        asked = {name: fields.get(name) for name in ("instructions", "max_output_tokens")}
        sampled = {name: fields.get(name, 1.0) for name in ("temperature", "top_p")}
        text = fields.get("text") or {"format": {"type": "text"}}
        return {**CONSTANT, **created, **asked, **sampled, "model": model, "text": text}


@dataclass
class Telling:
    """The shapes of one response; its events are numbered."""

    frame: Record
    item_id: str
    number: int = 0

    def event(self, name: str, **fields: Any) -> bytes:
        record = {**fields, "type": name, "sequence_number": self.number}
        self.number += 1
        data = json.dumps(record, ensure_ascii=False, separators=(",", ":"), sort_keys=True)  # as Go writes a map
        return f"event: {name}\ndata: {data}\n\n".encode()

    def on_text(self, name: str, **fields: Any) -> bytes:
        return self.event(name, item_id=self.item_id, output_index=0, content_index=0, **fields)

    def item(self, status: str, content: list[Record]) -> Record:
        return {"id": self.item_id, "type": "message", "status": status, "role": "assistant", "content": content}

    def response(self, text: str, ending: Ending | None) -> Record:
        """The whole of it; without an ending, as it stands while it is under way."""
        done = ending is not None
        return {
            **self.frame,
            "status": "completed" if done else "in_progress",  # Ollama says so where the cap ended it, too
            "completed_at": self.frame["created_at"] if done else None,
            "output": [self.item("completed", [_part(text)])] if done else [],
            "usage": None if ending is None else _usage(ending),
        }


async def _events(telling: Telling, parts: Generation) -> AsyncGenerator[bytes]:
    text = ""
    opening = _opening(telling)
    async for part in parts:
        if isinstance(part, Ending):
            yield opening + _closing(telling, text, part)
        else:
            text += part.text
            yield opening + telling.on_text("response.output_text.delta", delta=part.text, logprobs=[])
        opening = b""


def _opening(telling: Telling) -> bytes:
    begun = telling.response("", None)
    return b"".join(
        (
            telling.event("response.created", response=begun),
            telling.event("response.in_progress", response=begun),
            telling.event("response.output_item.added", output_index=0, item=telling.item("in_progress", [])),
            telling.on_text("response.content_part.added", part=_part("")),
        )
    )


def _closing(telling: Telling, text: str, ending: Ending) -> bytes:
    item = telling.item("completed", [_part(text)])
    return b"".join(
        (
            telling.on_text("response.output_text.done", text=text, logprobs=[]),
            telling.on_text("response.content_part.done", part=_part(text)),
            telling.event("response.output_item.done", output_index=0, item=item),
            telling.event("response.completed", response=telling.response(text, ending)),
        )
    )


def _part(text: str) -> Record:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _usage(ending: Ending) -> Record:
    return {
        "input_tokens": ending.prompt_tokens,
        "output_tokens": ending.output_tokens,
        "total_tokens": ending.prompt_tokens + ending.output_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    }


def _options(fields: Record) -> Record:
    copied = {name: fields[name] for name in ("temperature", "top_p") if fields.get(name) is not None}
    return {"temperature": 1.0, "top_p": 1.0, **copied, "num_predict": fields.get("max_output_tokens")}


def _format(fields: Record) -> Any:
    text = fields.get("text")
    asked = text.get("format") if isinstance(text, dict) else None
    return asked.get("schema") if isinstance(asked, dict) and asked.get("type") == "json_schema" else None


def _spoken(fields: Record) -> list[dict[str, str]]:
    """The instructions, then the input as messages, each with its text; the model neither sees nor calls tools."""
    instructions, given = text_of(fields, "instructions"), fields.get("input")
    spoken = [{"role": "system", "content": instructions}] if instructions else []
    if isinstance(given, str):
        return [*spoken, {"role": "user", "content": given}]
    if not isinstance(given, list) or not all(isinstance(item, dict) for item in given):
        raise RefusedError(400, "input must be a string or array")
    for item in given:
        if item.get("type", "message") != "message":
            raise RefusedError(400, f"this model does not support input of type {item['type']}")
        spoken.append({"role": text_of(item, "role") or "user", "content": _text(item.get("content"))})
    return spoken


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        raise RefusedError(400, "content must be a string or array")
    other = {str(part.get("type")) for part in content} - TEXTS
    if other:
        raise RefusedError(400, f"this model does not support content of type {min(other)}")
    return "".join(text_of(part, "text") for part in content)
