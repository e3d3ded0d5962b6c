"""A valid body for every endpoint that takes one, with what Ollama makes of its fields."""

from dataclasses import dataclass
from typing import Any

from neuronetz_gateway.surfaces.catalog import ENDPOINTS
from neuronetz_gateway.surfaces.surface import Endpoint

TOOL = {
    "type": "function",
    "function": {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}},
}
_MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
_RESPONSES_TOOL = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}


@dataclass(frozen=True, slots=True)
class Speech:
    """What of one route's body Ollama reads (OLLAMA §3.1, §4.5): its subject, its cap, whether it streams.

    cap is the field that Ollama obeys, cap_fields are all with which a caller may ask; streams None means never.
    body is the plainest that is answered.
    """

    body: dict[str, Any]
    subject: tuple[str, ...]
    cap: str | None = None
    cap_fields: tuple[str, ...] = ()
    streams: bool | None = None
    more: tuple[dict[str, Any], ...] = ()

    def bodies(self) -> list[dict[str, Any]]:
        """The plain body, then it with whatever else a caller may rightly send."""
        return [self.body, *({**self.body, **extra} for extra in self.more)]


_OPTIONS = {"options": {"num_predict": 20, "temperature": 0.5, "seed": 7}}
_OPENAI_EXTRAS = (
    {"stream": True, "max_tokens": 20, "temperature": 0.5, "stop": ["x"]},
    {"stream": True, "stream_options": {"include_usage": True}, "max_tokens": 9},
)

SPEECHES: dict[str, Speech] = {
    "/api/chat": Speech(
        {"model": "fakea", "messages": _MESSAGES},
        ("messages",),
        cap="options.num_predict",
        cap_fields=("options.num_predict",),
        streams=True,
        more=(
            {"stream": False, **_OPTIONS},
            {"tools": [TOOL], "think": False, "format": "json"},
            {"messages": [{"role": "user", "content": "What?", "images": ["iVBORw0KGgo="]}], "options": {}},
        ),
    ),
    "/api/generate": Speech(
        {"model": "fakea", "prompt": "Once"},
        ("prompt",),
        cap="options.num_predict",
        cap_fields=("options.num_predict",),
        streams=True,
        more=({"stream": False, **_OPTIONS}, {"system": "Be brief.", "images": ["iVBORw0KGgo="], "suffix": "end"}),
    ),
    "/api/embed": Speech(
        {"model": "fakea", "input": ["one", "two"]},
        ("input",),
        more=({"input": "one", "truncate": True, "options": {"seed": 7}}, {"dimensions": 4}),
    ),
    "/api/embeddings": Speech({"model": "fakea", "prompt": "one"}, ("prompt",), more=({"options": {"seed": 7}},)),
    "/api/show": Speech({"model": "fakea"}, (), more=({"verbose": False},)),
    "/v1/chat/completions": Speech(
        {"model": "fakea", "messages": _MESSAGES},
        ("messages",),
        cap="max_tokens",
        cap_fields=("max_tokens", "max_completion_tokens"),
        streams=False,
        more=(
            *_OPENAI_EXTRAS,
            {"max_completion_tokens": 12, "tools": [TOOL], "response_format": {"type": "text"}},
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}]},
        ),
    ),
    "/v1/completions": Speech(
        {"model": "fakea", "prompt": "Once"},
        ("prompt",),
        cap="max_tokens",
        cap_fields=("max_tokens",),
        streams=False,
        more=_OPENAI_EXTRAS,
    ),
    "/v1/embeddings": Speech({"model": "fakea", "input": "one"}, ("input",), more=({"input": ["one", "two"]},)),
    "/v1/responses": Speech(
        {"model": "fakea", "input": "Once"},
        ("input",),
        cap="max_output_tokens",
        cap_fields=("max_output_tokens",),
        streams=False,
        more=(
            {"stream": True, "max_output_tokens": 20, "instructions": "Be brief."},
            {"input": [{"role": "user", "content": "Hello"}], "tools": [_RESPONSES_TOOL]},
            {"input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello"}]}]},
        ),
    ),
    "/v1/messages": Speech(
        {"model": "fakea", "max_tokens": 30, "messages": [{"role": "user", "content": "Hello"}]},
        ("messages",),
        cap="max_tokens",
        cap_fields=("max_tokens",),
        streams=False,
        more=(
            {"stream": True, "system": "Be brief.", "temperature": 0.5},
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}]},
            {"tools": [{"name": "f", "description": "d", "input_schema": {"type": "object", "properties": {}}}]},
        ),
    ),
}

READING: tuple[Endpoint, ...] = tuple(each for each in ENDPOINTS if each.inference or each.asks)
INFERRING: tuple[Endpoint, ...] = tuple(each for each in ENDPOINTS if each.inference)
GENERATING: tuple[Endpoint, ...] = tuple(each for each in INFERRING if each.inference and each.inference.has_output)
STREAMING: tuple[Endpoint, ...] = tuple(each for each in GENERATING if SPEECHES[each.path].streams is not None)


def name_of(endpoint: Endpoint) -> str:
    """How a parametrised test calls an endpoint."""
    return f"{endpoint.method} {endpoint.path}"


def body_of(endpoint: Endpoint, **extra: Any) -> dict[str, Any]:
    return {**SPEECHES[endpoint.path].body, **extra}


def asking(endpoint: Endpoint, tokens: int | None, **extra: Any) -> dict[str, Any]:
    """A plain body that asks for so many tokens of output, where the endpoint has any."""
    cap = SPEECHES[endpoint.path].cap
    if cap is None or tokens is None:
        return body_of(endpoint, **extra)
    field, _, inner = cap.partition(".")
    return body_of(endpoint, **{field: {inner: tokens} if inner else tokens}, **extra)


def cap_in(endpoint: Endpoint, body: dict[str, Any]) -> Any:
    """What a body that was sent says where Ollama obeys it."""
    cap = SPEECHES[endpoint.path].cap
    field, _, inner = (cap or "").partition(".")
    value = body.get(field)
    return value.get(inner) if inner and isinstance(value, dict) else value


def saying(endpoint: Endpoint, text: str, **extra: Any) -> dict[str, Any]:
    """A plain body whose subject is this text, so that what arrives can be told from everything else."""
    speech = SPEECHES[endpoint.path]
    said = {name: [{"role": "user", "content": text}] if name == "messages" else text for name in speech.subject}
    return {**speech.body, **said, **extra}
