"""The Anthropic route of the demo model, in the very form in which Ollama emits it (anthropic/anthropic.go)."""

import json
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any

from neuronetz_gateway.embedded.demo_call import flag_of, named_model, parsed, streamed, text_of
from neuronetz_gateway.embedded.demo_generation import (
    Ending,
    Generation,
    Generator,
    Piece,
    RefusedError,
    checked_options,
    finished,
)
from neuronetz_gateway.embedded.demo_http import Answer, Request
from neuronetz_gateway.embedded.demo_ollama import json_answer

EVENTS = "text/event-stream"
HEADERS = {"Cache-Control": "no-cache"}
CHARACTERS_PER_TOKEN = 4  # Ollama's estimate at the start of a stream
ID_RANGE = 1 << 96
COPIED = ("temperature", "top_p", "top_k")
STOP_REASONS = {"stop": "end_turn", "length": "max_tokens"}
ERROR_TYPES = {400: "invalid_request_error", 404: "not_found_error", 503: "overloaded_error"}

type Record = dict[str, Any]
type Draw = Callable[[int], int]


class AnthropicRoutes:
    """The handler; ``draw(n)`` gives a number below n for an id."""

    def __init__(self, generator: Generator, draw: Draw) -> None:
        self._generator = generator
        self._draw = draw

    async def messages(self, request: Request) -> Answer:
        fields = parsed(request.body)
        if not text_of(fields, "model"):
            raise RefusedError(400, "model is required")
        options = _options(fields)
        spoken = _spoken(fields)
        model = named_model(text_of(fields, "model"))
        if fields.get("tools"):
            raise RefusedError(400, f"registry.ollama.ai/library/{model} does not support tools")
        prompt = await self._generator.chat_prompt(spoken)
        generation = self._generator.generate(prompt, checked_options(options, refused_status=500))
        head = {"id": f"msg_{self._draw(ID_RANGE):024x}", "type": "message", "role": "assistant", "model": model}
        if flag_of(fields, "stream", False):
            estimate = _estimated_tokens(spoken)
            answer = await streamed(generation, lambda parts: _events(head, parts, estimate), EVENTS)
            return Answer(answer.status, answer.content_type, answer.body, HEADERS)
        async with aclosing(generation):
            whole = await finished(generation)
        content = [{"type": "text", "text": whole.text}] if whole.text else None
        ended = {"stop_reason": STOP_REASONS[whole.ending.reason], "usage": _usage(whole.ending)}
        return json_answer({**head, "content": content, **ended})


def refusal(status: int, message: str, draw: Draw) -> Answer:
    """An error in Anthropic's envelope."""
    error = {"type": ERROR_TYPES.get(status, "api_error"), "message": message}
    return json_answer({"type": "error", "error": error, "request_id": f"req_{draw(ID_RANGE):024x}"}, status)


async def _events(head: Record, parts: Generation, estimate: int) -> AsyncGenerator[bytes]:
    start = _event("message_start", message=head | {"content": [], "usage": _figures(estimate, 0)})
    opened = False
    async for part in parts:
        records, start = start, b""
        if isinstance(part, Piece) and not opened:
            opened = True
            records += _event("content_block_start", index=0, content_block={"type": "text", "text": ""})
        yield records + (_delta(part) if isinstance(part, Piece) else _closing(part, opened=opened))


def _delta(piece: Piece) -> bytes:
    return _event("content_block_delta", index=0, delta={"type": "text_delta", "text": piece.text})


def _closing(ending: Ending, *, opened: bool) -> bytes:
    stop = _event("content_block_stop", index=0) if opened else b""
    delta = _event("message_delta", delta={"stop_reason": STOP_REASONS[ending.reason]}, usage=_usage(ending))
    return stop + delta + _event("message_stop")


def _event(name: str, **fields: Any) -> bytes:
    data = json.dumps({"type": name, **fields}, ensure_ascii=False, separators=(",", ":"))
    return f"event: {name}\ndata: {data}\n\n".encode()


def _usage(ending: Ending) -> Record:
    return _figures(ending.prompt_tokens, ending.output_tokens)


def _figures(prompt_tokens: int, output_tokens: int) -> Record:
    return {"input_tokens": prompt_tokens, "output_tokens": output_tokens}


def _options(fields: Record) -> Record:
    cap = fields.get("max_tokens")
    if type(cap) is not int or cap <= 0:
        raise RefusedError(400, "max_tokens is required and must be positive")
    options: Record = {"num_predict": cap, "stop": fields.get("stop_sequences")}
    return options | {name: fields[name] for name in COPIED if fields.get(name) is not None}


def _spoken(fields: Record) -> list[dict[str, str]]:
    """The system prompt, then the messages, each with its text; the model neither sees nor calls tools."""
    messages = fields.get("messages")
    if not isinstance(messages, list) or not messages:
        raise RefusedError(400, "messages is required")
    system = _text(fields.get("system") or "")
    spoken = [{"role": "system", "content": system}] if system else []
    for message in messages:
        if not isinstance(message, dict):
            raise RefusedError(400, "json: cannot unmarshal into field messages of type anthropic.MessageParam")
        spoken.append({"role": text_of(message, "role").lower(), "content": _text(message.get("content"))})
    return spoken


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not all(isinstance(block, dict) for block in content):
        raise RefusedError(400, "json: cannot unmarshal into field content of type []anthropic.ContentBlock")
    other = {str(block.get("type")) for block in content} - {"text", "thinking"}
    if other:
        raise RefusedError(400, f"this model does not support content of type {min(other)}")
    return "".join(text_of(block, "text") for block in content)


def _estimated_tokens(spoken: Sequence[dict[str, str]]) -> int:
    return max(1, sum(len(text.encode()) for message in spoken for text in message.values()) // CHARACTERS_PER_TOKEN)
