"""Ollama's native routes of the demo model: ``/api/generate``, ``/api/chat``, ``/api/embed`` with their records."""

import json
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Any

from neuronetz_gateway.embedded.demo_call import (
    MODEL_NAME,
    asked_model,
    flag_of,
    named_model,
    parsed,
    streamed,
    text_of,
)
from neuronetz_gateway.embedded.demo_generation import (
    Ending,
    Generation,
    Generator,
    RefusedError,
    checked_options,
    finished,
)
from neuronetz_gateway.embedded.demo_http import Answer, Request

NDJSON = "application/x-ndjson"

type Record = dict[str, Any]
type Shape = Callable[[str], Record]


class OllamaRoutes:
    """The handlers; ``now`` gives the time that stands in the records."""

    def __init__(self, generator: Generator, now: Callable[[], datetime]) -> None:
        self._generator = generator
        self._now = now

    async def generate(self, request: Request) -> Answer:
        fields = parsed(request.body)
        model = named_model(text_of(fields, "model"))
        if text_of(fields, "suffix"):
            raise RefusedError(400, f"{model} does not support insert")
        _refuse_images([fields])
        text = text_of(fields, "prompt")
        if not text:
            return self._loaded(model, fields, {"response": ""})
        prompt = await self._generate_prompt(fields, text)

        def ending_fields(ending: Ending) -> Record:
            return {} if flag_of(fields, "raw", False) else {"context": list(ending.tokens)}

        return await self._answered(model, fields, prompt, lambda piece: {"response": piece}, ending_fields)

    async def chat(self, request: Request) -> Answer:
        fields = parsed(request.body)
        model = asked_model(fields)
        if fields.get("tools"):
            raise RefusedError(400, f"registry.ollama.ai/library/{model} does not support tools")
        messages = _messages(fields.get("messages"))
        if not messages:
            return self._loaded(model, fields, _message(""))
        prompt = await self._generator.chat_prompt(messages)
        return await self._answered(model, fields, prompt, _message, lambda _: {})

    async def embed(self, request: Request) -> Answer:
        fields = parsed(request.body)
        model = named_model(text_of(fields, "model"))
        started = self._now()
        inputs = embed_inputs(fields.get("input"))
        vectors, tokens = await self._generator.embed(inputs, truncate=flag_of(fields, "truncate", True))
        record: Record = {"model": model, "embeddings": vectors}
        record |= {"total_duration": int((self._now() - started).total_seconds() * 1e9), "load_duration": 1}
        return json_answer(record | ({"prompt_eval_count": tokens} if tokens else {}))

    async def embeddings(self, request: Request) -> Answer:
        """The older route: one input, no usage."""
        fields = parsed(request.body)
        asked_model(fields)
        text = text_of(fields, "prompt")
        vectors = (await self._generator.embed([text], truncate=True))[0] if text else [[]]
        return json_answer({"embedding": vectors[0]})

    async def _generate_prompt(self, fields: Record, text: str) -> list[int]:
        if flag_of(fields, "raw", False):
            return await self._generator.text_prompt(text)
        system = text_of(fields, "system")
        messages = [{"role": "system", "content": system}] if system else []
        prompt = await self._generator.chat_prompt([*messages, {"role": "user", "content": text}])
        context = fields.get("context") or []
        if not isinstance(context, list) or not all(type(token) is int for token in context):
            raise RefusedError(400, "json: cannot unmarshal into field context of type []int")
        return [*context, *prompt]

    async def _answered(
        self,
        model: str,
        fields: Record,
        prompt: Sequence[int],
        shape: Shape,
        ending_fields: Callable[[Ending], Record],
    ) -> Answer:
        options = checked_options(_mapping(fields, "options"), refused_status=500)
        generation = self._generator.generate(prompt, options, fields.get("format"))
        if flag_of(fields, "stream", True):
            return await streamed(generation, lambda parts: self._lines(model, parts, shape, ending_fields), NDJSON)
        async with aclosing(generation):
            whole = await finished(generation)
        ending = _ending_fields(whole.ending) | ending_fields(whole.ending)
        return json_answer(self._head(model) | shape(whole.text) | ending)

    async def _lines(
        self, model: str, parts: Generation, shape: Shape, ending_fields: Callable[[Ending], Record]
    ) -> AsyncGenerator[bytes]:
        async for part in parts:
            if isinstance(part, Ending):
                yield _line(self._head(model) | shape("") | _ending_fields(part) | ending_fields(part))
            else:
                yield _line(self._head(model) | shape(part.text) | {"done": False})

    def _loaded(self, model: str, fields: Record, empty: Record) -> Answer:
        """What a request without a prompt gets: Ollama loads or unloads the model then."""
        unloading = fields.get("keep_alive") in (0, "0", "0s")
        reason = {"done": True, "done_reason": "unload" if unloading else "load"}
        return json_answer(self._head(model) | empty | reason)

    def _head(self, model: str) -> Record:
        return {"model": model, "created_at": self._now().isoformat().replace("+00:00", "Z")}


def json_answer(value: Any, status: int = 200) -> Answer:
    return Answer(status, body=json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


def embed_inputs(value: Any) -> list[str]:
    """One text or several. Raises `RefusedError` for anything else."""
    inputs = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(inputs, list) or not all(isinstance(each, str) for each in inputs):
        raise RefusedError(400, "invalid input type")
    return inputs


def _line(record: Record) -> bytes:
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _message(text: str) -> Record:
    return {"message": {"role": "assistant", "content": text}}


def _messages(value: Any) -> list[dict[str, str]]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(message, dict) for message in value):
        raise RefusedError(400, "json: cannot unmarshal into field messages of type []api.Message")
    _refuse_images(value)
    return [{"role": text_of(message, "role"), "content": text_of(message, "content")} for message in value]


def _refuse_images(records: Sequence[Mapping[str, Any]]) -> None:
    """An image that was left out without a word would be answered as if it had been seen."""
    if any(record.get("images") for record in records):
        raise RefusedError(400, f"{MODEL_NAME} does not support images")


def _mapping(fields: Record, name: str) -> Mapping[str, Any]:
    value = fields.get(name) or {}
    if not isinstance(value, dict):
        raise RefusedError(400, f"json: cannot unmarshal into field {name} of type map[string]interface {{}}")
    return value


def _ending_fields(ending: Ending) -> Record:
    """The last record's fields; a count of 0 is left out, as Ollama's omitempty does."""
    spent = ending.prompt_seconds + ending.output_seconds
    figures = {
        "total_duration": int(ending.total_seconds * 1e9),
        "load_duration": int(max(ending.total_seconds - spent, 0.0) * 1e9),
        "prompt_eval_count": ending.prompt_tokens,
        "prompt_eval_duration": int(ending.prompt_seconds * 1e9),
        "eval_count": ending.output_tokens,
        "eval_duration": int(ending.output_seconds * 1e9),
    }
    return {"done": True, "done_reason": ending.reason} | {name: value for name, value in figures.items() if value}
