"""What an inference request asks for, read as Ollama reads it (OLLAMA.md §3.1, §4)."""

import hashlib
import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeGuard

TOKENS_PER_MESSAGE = 4  # stands for the template around a message, or around a prompt
TOKENS_PER_IMAGE = 256
REGISTRY = "registry.ollama.ai/"
VOCABULARY = ("amber", "basin", "cedar", "drift", "ember", "fjord", "grün", "haven", "inlet", "jetty", "knoll", "日本")


class AskError(ValueError):
    """The request is refused before anything is generated; `status` is the answer's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Ask:
    model: str  # in the caller's spelling: Ollama echoes it
    stream: bool
    texts: tuple[str, ...]
    images: int
    output_cap: int | None
    include_usage: bool
    fields: dict[str, Any]

    @property
    def prompt_tokens(self) -> int:
        """White-space separated words of all texts, + 4 for each text, + 256 for each image."""
        words = sum(len(text.split()) for text in self.texts)
        return words + TOKENS_PER_MESSAGE * len(self.texts) + TOKENS_PER_IMAGE * self.images

    @property
    def seed(self) -> int:
        """The same request always has the same answer, to the byte."""
        digest = hashlib.sha256("\0".join((self.model, *self.texts)).encode(errors="replace")).digest()
        return int.from_bytes(digest[:8])

    def words(self, count: int) -> Iterator[str]:
        """The text of so many tokens, each with the blank before it."""
        chance = random.Random(self.seed)
        for _ in range(count):
            yield " " + chance.choice(VOCABULARY)


def decode_like_go(body: bytes) -> dict[str, Any]:
    """The top-level fields as encoding/json would bind them (§4.2), under their folded names.

    Raises:
        AskError: the body is no JSON object.
    """
    try:
        text = body.decode("utf-8", errors="replace").lstrip(" \t\r\n")
        value, _ = json.JSONDecoder(object_pairs_hook=_Pairs, parse_constant=_refuse_constant).raw_decode(text)
    except (ValueError, RecursionError) as error:
        raise AskError(400, str(error) if body else "missing request body") from error
    if value is None:
        return {}
    if not isinstance(value, _Pairs):
        raise AskError(400, "json: cannot unmarshal into Go value of type api.Request")
    fields: dict[str, Any] = {}
    for key, item in value:
        _bind(fields, key.casefold(), _plain(item))
    return fields


class _Pairs(list[tuple[str, Any]]):
    """An object with its duplicate keys."""


def _refuse_constant(name: str) -> None:
    raise ValueError(f"invalid character {name[0]!r} looking for beginning of value")


def _bind(fields: dict[str, Any], name: str, item: Any) -> None:
    if item is None:
        fields.setdefault(name, None)
    elif name == "options" and isinstance(item, dict) and isinstance(fields.get(name), dict):
        fields[name] = fields[name] | item
    else:
        fields[name] = item


def _plain(item: Any) -> Any:
    if isinstance(item, _Pairs):
        return {key: _plain(value) for key, value in item}
    return [_plain(value) for value in item] if isinstance(item, list) else item


def canonical(name: str) -> str:
    """The installed name that a spelling means, `model:tag` (§4.1)."""
    name = name.strip().lower().rpartition("://")[2].strip()
    name = name.removesuffix(":local").removeprefix(REGISTRY).removeprefix("library/")
    return name if ":" in name else name + ":latest"


def check_model(path: str, ask: Ask, models: tuple[str, ...]) -> None:
    """§3.4: 404 for an unknown model, 400 or 404 for none.

    Raises:
        AskError: the model cannot be run.
    """
    if not ask.model and path not in {"/api/generate", "/api/embed"}:
        raise AskError(400, "model is required")
    if canonical(ask.model) not in map(canonical, models) and not ask.model.strip().lower().endswith("cloud"):
        raise AskError(404, f"model '{ask.model}' not found")


def read_ask(path: str, fields: dict[str, Any]) -> Ask:
    """What a request with this body asks of this route.

    Raises:
        AskError: a field has the wrong type, or one is missing that the route needs.
    """
    stream = fields.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise AskError(400, "json: cannot unmarshal string into Go struct field .stream of type bool")
    if path == "/v1/messages" and not _positive(fields.get("max_tokens")):
        raise AskError(400, "max_tokens is required and must be positive")
    if path in {"/v1/chat/completions", "/v1/messages"} and not fields.get("messages"):
        raise AskError(400, "[] is too short - 'messages'")
    options = fields.get("stream_options")
    texts = tuple(_texts(fields))
    return Ask(
        model=str(fields.get("model") or ""),
        stream=path in {"/api/generate", "/api/chat"} if stream is None else stream,
        texts=texts,
        images=len(fields.get("images") or ()) + sum(_images(message) for message in fields.get("messages") or ()),
        output_cap=_output_cap(path, fields),
        include_usage=isinstance(options, dict) and options.get("include_usage") is True,
        fields=fields,
    )


def _output_cap(path: str, fields: dict[str, Any]) -> int | None:
    """§4.5: max_completion_tokens is ignored; 0 or a negative number is no cap."""
    options = fields.get("options")
    if path in {"/api/generate", "/api/chat"}:
        value = options.get("num_predict") if isinstance(options, dict) else None
    else:
        value = fields.get("max_output_tokens" if path == "/v1/responses" else "max_tokens")
    return int(value) if _positive(value) else None


def _positive(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 1


def _texts(fields: dict[str, Any]) -> Iterator[str]:
    """One text for each message, prompt, system prompt or input."""
    for name in ("system", "instructions", "prompt", "suffix"):
        if fields.get(name):
            yield "".join(_parts(fields[name]))
    for message in fields.get("messages") or ():
        yield "".join(_parts(message.get("content"))) if isinstance(message, dict) else ""
    inputs = fields.get("input")
    for item in inputs if isinstance(inputs, list) else [inputs]:
        if item:
            yield "".join(_parts(item.get("content") if isinstance(item, dict) else item))


def _parts(content: Any) -> Iterable[str]:
    if isinstance(content, str):
        return [content]
    if not isinstance(content, list):
        return []
    return [
        str(part.get("text") or "") + "".join(_parts(part.get("content"))) for part in content if isinstance(part, dict)
    ]


def _images(message: Any) -> int:
    if not isinstance(message, dict):
        return 0
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    pictures = sum(1 for part in parts if isinstance(part, dict) and "image" in str(part.get("type")))
    return pictures + len(message.get("images") or ())
