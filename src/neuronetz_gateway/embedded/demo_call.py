"""What every route of the demo model shares: the body, the model's name, the first piece before the head."""

import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from neuronetz_gateway.embedded.demo_generation import Generation, RefusedError
from neuronetz_gateway.embedded.demo_http import Answer

MODEL_NAME = "smollm2:135m"


def parsed(body: bytes) -> dict[str, Any]:
    """The JSON object of a request. Raises `RefusedError`."""
    if not body.strip():
        raise RefusedError(400, "missing request body")
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, "the request body is no JSON") from error
    if not isinstance(value, dict):
        raise RefusedError(400, "the request body is no JSON object")
    return value


def text_of(fields: dict[str, Any], name: str) -> str:
    """A text field, empty where it is missing or null. Raises `RefusedError` for another type."""
    value = fields.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RefusedError(400, f"json: cannot unmarshal into field {name} of type string")
    return value


def flag_of(fields: dict[str, Any], name: str, default: bool) -> bool:
    """A boolean field. Raises `RefusedError` for another type."""
    value = fields.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise RefusedError(400, f"json: cannot unmarshal into field {name} of type bool")
    return value


def named_model(name: str) -> str:
    """The name as the caller wrote it, if it names the model here (Ollama's rules, apart from schemes)."""
    parts = name.strip().lower().removeprefix("registry.ollama.ai/").removeprefix("library/")
    if parts != MODEL_NAME:
        raise RefusedError(404, f"model '{name}' not found")
    return name


def asked_model(fields: dict[str, Any]) -> str:
    """The model that a request must name. Raises `RefusedError`."""
    if not text_of(fields, "model"):
        raise RefusedError(400, "model is required")
    return named_model(text_of(fields, "model"))


async def streamed(
    generation: Generation,
    render: Callable[[Generation], AsyncGenerator[bytes]],
    content_type: str,
) -> Answer:
    """An answer whose head goes out with the first piece, so that a refusal before it keeps its own status."""
    pieces = render(generation)
    try:
        first = await anext(pieces)
    except BaseException:
        await generation.aclose()
        raise
    return Answer(200, content_type, _rejoined(first, pieces, generation.aclose))


async def _rejoined(
    first: bytes, pieces: AsyncGenerator[bytes], close: Callable[[], Awaitable[None]]
) -> AsyncGenerator[bytes]:
    try:
        yield first
        async for piece in pieces:
            yield piece
    finally:
        await pieces.aclose()
        await close()
