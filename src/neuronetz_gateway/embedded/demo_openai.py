"""The OpenAI routes of the demo model, in the very form in which Ollama emits them (middleware/openai.go)."""

import base64
import json
import struct
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from neuronetz_gateway.embedded.demo_call import asked_model, flag_of, named_model, parsed, streamed, text_of
from neuronetz_gateway.embedded.demo_generation import (
    Ending,
    Generation,
    Generator,
    RefusedError,
    checked_options,
    finished,
)
from neuronetz_gateway.embedded.demo_http import Answer, Request
from neuronetz_gateway.embedded.demo_ollama import embed_inputs, json_answer

EVENTS = "text/event-stream"
DONE = b"data: [DONE]\n\n"
ID_RANGE = 999  # Ollama draws its ids from so few
COPIED = ("temperature", "top_p", "seed", "frequency_penalty", "presence_penalty")

type Record = dict[str, Any]


@dataclass(frozen=True)
class Form:
    """How one of the two generating routes spells its answer."""

    id_prefix: str
    whole: str
    chunk: str
    choice: Callable[[str], Record]
    chunk_choice: Callable[[str], Record]
    # with include_usage, completions put a zero usage on every chunk (OLLAMA.md §3.2)
    chunk_usage: bool


CHAT = Form(
    "chatcmpl",
    "chat.completion",
    "chat.completion.chunk",
    lambda text: {"message": {"role": "assistant", "content": text}},
    lambda text: {"delta": {"role": "assistant", "content": text}},
    chunk_usage=False,
)
COMPLETION = Form(
    "cmpl", "text_completion", "text_completion", lambda text: {"text": text}, lambda text: {"text": text}, True
)


class OpenAIRoutes:
    """The handlers; ``draw(n)`` gives a number below n for an id."""

    def __init__(self, generator: Generator, now: Callable[[], datetime], draw: Callable[[int], int]) -> None:
        self._generator = generator
        self._now = now
        self._draw = draw

    async def chat_completions(self, request: Request) -> Answer:
        fields = parsed(request.body)
        messages = _messages(fields.get("messages"))
        model = asked_model(fields)
        if fields.get("tools"):
            raise RefusedError(400, f"registry.ollama.ai/library/{model} does not support tools")
        prompt = await self._generator.chat_prompt(messages)
        return await self._answered(CHAT, model, fields, prompt, _response_format(fields.get("response_format")))

    async def completions(self, request: Request) -> Answer:
        """Text completion; as in Ollama the model's template is applied here too."""
        fields = parsed(request.body)
        model = named_model(text_of(fields, "model"))
        if text_of(fields, "suffix"):
            raise RefusedError(400, f"{model} does not support insert")
        prompt = await self._generator.chat_prompt([{"role": "user", "content": text_of(fields, "prompt")}])
        return await self._answered(COMPLETION, model, fields, prompt, None)

    async def embeddings(self, request: Request) -> Answer:
        fields = parsed(request.body)
        spelling = text_of(fields, "encoding_format").lower() or "float"
        if spelling not in ("float", "base64"):
            raise RefusedError(400, f"Invalid value for 'encoding_format' = {spelling}.")
        inputs = embed_inputs(fields.get("input"))
        if not inputs:
            raise RefusedError(400, "invalid input")
        model = named_model(text_of(fields, "model"))
        vectors, tokens = await self._generator.embed(inputs, truncate=True)
        spelt: list[Any] = [_base64(vector) if spelling == "base64" else vector for vector in vectors]
        data = [{"object": "embedding", "embedding": vector, "index": index} for index, vector in enumerate(spelt)]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return json_answer({"object": "list", "data": data, "model": model, "usage": usage})

    async def _answered(
        self, form: Form, model: str, fields: Record, prompt: Sequence[int], response_format: Any
    ) -> Answer:
        options = checked_options(_options(fields), refused_status=400)
        generation = self._generator.generate(prompt, options, response_format)
        head = {"id": f"{form.id_prefix}-{self._draw(ID_RANGE)}", "created": int(self._now().timestamp())}
        head |= {"model": model, "system_fingerprint": "fp_ollama"}
        if flag_of(fields, "stream", False):
            with_usage = _includes_usage(fields.get("stream_options"))
            return await streamed(generation, lambda parts: _events(form, head, parts, with_usage), EVENTS)
        async with aclosing(generation):
            whole = await finished(generation)
        choice = {"index": 0, **form.choice(whole.text), "finish_reason": whole.ending.reason}
        body = {**head, "object": form.whole, "choices": [choice], "usage": _usage(whole.ending)}
        return json_answer(body)


async def _events(form: Form, head: Record, parts: Generation, with_usage: bool) -> AsyncGenerator[bytes]:
    zero = {"usage": _figures(0, 0)} if with_usage and form.chunk_usage else {}
    base = {**head, "object": form.chunk}
    async for part in parts:
        ended = isinstance(part, Ending)
        text, reason = ("", part.reason) if isinstance(part, Ending) else (part.text, None)
        choice = {"index": 0, **form.chunk_choice(text), "finish_reason": reason}
        yield _event({**base, "choices": [choice], **zero})
        if isinstance(part, Ending) and with_usage:
            yield _event({**base, "choices": [], "usage": _usage(part)})
        if ended:
            yield DONE


def _event(record: Record) -> bytes:
    return b"data: " + json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def _usage(ending: Ending) -> Record:
    return _figures(ending.prompt_tokens, ending.output_tokens)


def _figures(prompt_tokens: int, output_tokens: int) -> Record:
    total = prompt_tokens + output_tokens
    return {"prompt_tokens": prompt_tokens, "completion_tokens": output_tokens, "total_tokens": total}


def _messages(value: Any) -> list[dict[str, str]]:
    if not isinstance(value, list) or not value:
        raise RefusedError(400, "[] is too short - 'messages'")
    return [message for each in value for message in _flattened(each)]


def _flattened(message: Any) -> list[dict[str, str]]:
    """A message, its parts as messages of their own; images are refused, since the model cannot see."""
    if not isinstance(message, dict):
        raise RefusedError(400, "invalid message format")
    role, content = text_of(message, "role"), message.get("content")
    if isinstance(content, str):
        return [{"role": role, "content": content}]
    if not isinstance(content, list):
        raise RefusedError(400, "invalid message content type")
    if not all(isinstance(part, dict) for part in content):
        raise RefusedError(400, "invalid message format")
    other = {str(part.get("type")) for part in content} - {"text"}
    if other:
        raise RefusedError(400, f"this model does not support content of type {min(other)}")
    return [{"role": role, "content": text_of(part, "text")} for part in content]


def _options(fields: Record) -> Record:
    options: Record = {"temperature": 1.0, "top_p": 1.0}
    options |= {name: fields[name] for name in COPIED if fields.get(name) is not None}
    stop = fields.get("stop")
    if stop is not None:
        options["stop"] = [stop] if isinstance(stop, str) else stop
    if fields.get("max_tokens") is not None:
        options["num_predict"] = fields["max_tokens"]
    return options


def _response_format(value: Any) -> Any:
    if not isinstance(value, dict):
        return None
    schema = value.get("json_schema")
    if value.get("type") == "json_schema" and isinstance(schema, dict):
        return schema.get("schema")
    return "json" if value.get("type") == "json_object" else None


def _includes_usage(value: Any) -> bool:
    return isinstance(value, dict) and value.get("include_usage") is True


def _base64(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
