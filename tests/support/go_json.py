"""What Go's encoding/json makes of a request body when Ollama binds it to its structs (OLLAMA §4.2)."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.support.go_scanner import GoError, Number, Object, first_value

__all__ = ["STRUCTS", "GoError", "GoRead", "Number", "Object", "fold", "go", "plain", "tree_of"]

# Outside ASCII only these fold to a letter of it in Go (encoding/json foldName): no other meets a field's name.
_FOLDED = {0x17F: "s", 0x212A: "k", **{code: chr(code + 32) for code in range(ord("A"), ord("Z") + 1)}}
_SURROGATE = re.compile("[\ud800-\udfff]")


def fold(name: str) -> str:
    return name.translate(_FOLDED)


def tree_of(body: bytes) -> Any:
    """The first value of a body; what stands behind it is ignored, as json.Decoder does.

    Raises GoError: no JSON for Go.
    """
    return first_value(body)


def text_of(value: Any) -> str:
    """A string as Go keeps it: a surrogate without its other half is replaced."""
    if type(value) is not str:
        raise GoError("cannot unmarshal into Go value of type string")
    return _SURROGATE.sub("\ufffd", value)


# --- how a value is bound to a field that may hold one already: (held, value) -> what it holds then

type Bind = Callable[[Any, Any], Any]


def a_string(held: Any, value: Any) -> Any:
    return held if value is None else text_of(value)


def a_bool(held: Any, value: Any) -> Any:
    if value is None:
        return held
    if value is True or value is False:
        return value
    raise GoError("cannot unmarshal into Go value of type bool")


def a_pointer(bind: Bind) -> Bind:
    """To a pointer null is nil, not a no-op."""
    return lambda held, value: None if value is None else bind(held, value)


def an_int(held: Any, value: Any) -> Any:
    if value is None:
        return held
    if type(value) is not Number:
        raise GoError("cannot unmarshal into Go value of type int")
    return value.integer


def anything(_: Any, value: Any) -> Any:
    """An `any`: the plain tree, duplicates resolved."""
    return plain(value)


def raw(_: Any, value: Any) -> Any:
    """A json.RawMessage, or a type that reads itself: here only whether it is there."""
    return value


def a_map(held: Any, value: Any) -> Any:
    """map[string]any: exact names; a second one is merged into the first."""
    if value is None:
        return None
    if type(value) is not Object:
        raise GoError("cannot unmarshal into Go value of type map[string]interface {}")
    return {**(held or {}), **{text_of(name): plain(item) for name, item in value}}


def a_list(held: Any, value: Any) -> Any:
    del held
    if value is None:
        return None
    if type(value) is not list:
        raise GoError("cannot unmarshal into Go slice")
    return [plain(item) for item in value]


def a_struct(binds: dict[str, Bind]) -> Bind:
    def bind(held: Any, value: Any) -> Any:
        if value is None:
            return held
        if type(value) is not Object:
            raise GoError("cannot unmarshal into Go struct")
        fields = dict(held or {})
        for name, item in value:
            known = fold(text_of(name))
            if known in binds:
                fields[known] = binds[known](fields.get(known), item)
        return fields

    return bind


def plain(value: Any) -> Any:
    """A tree that can be compared: of duplicates the last one, numbers by value, null members left out."""
    if type(value) is Object:
        return {text_of(name): plain(item) for name, item in value if item is not None}
    if type(value) is list:
        return [plain(item) for item in value]
    if type(value) is Number:
        return value.float64
    return text_of(value) if type(value) is str else value


# --- Ollama's structs, by route; only what is policed, the rest is anybody's

_OPTIONS = {"options": a_map, "keep_alive": a_pointer(raw)}
_STREAM_OPTIONS = {"stream_options": a_pointer(a_struct({"include_usage": a_bool}))}
_NATIVE: dict[str, Bind] = {
    "model": a_string,
    "stream": a_pointer(a_bool),
    "template": a_string,
    "format": raw,
    "raw": a_bool,
    "shift": a_pointer(a_bool),
    "_debug_render_only": a_bool,
    **_OPTIONS,
}
_OPENAI: dict[str, Bind] = {
    "model": a_string,
    "stream": a_bool,
    "max_tokens": a_pointer(an_int),
    "_debug_render_only": a_bool,
    **_STREAM_OPTIONS,
}
_CHAT = {name: bind for name, bind in _NATIVE.items() if name not in {"template", "raw"}}

STRUCTS: dict[str, dict[str, Bind]] = {
    "/api/generate": {**_NATIVE, "prompt": a_string, "system": a_string, "images": a_list},
    "/api/chat": {**_CHAT, "messages": a_list},
    "/api/embed": {"model": a_string, "input": anything, **_OPTIONS},
    "/api/embeddings": {"model": a_string, "prompt": a_string, **_OPTIONS},
    "/api/show": {"model": a_string, "name": a_string, "verbose": a_bool},
    "/v1/chat/completions": {
        **_OPENAI,
        "messages": a_list,
        "response_format": a_pointer(raw),
        "max_completion_tokens": a_pointer(an_int),  # Ollama does not know it; a caller means a cap by it all the same
    },
    "/v1/completions": {**_OPENAI, "prompt": a_string},
    "/v1/embeddings": {"model": a_string, "input": anything},
    "/v1/responses": {
        "model": a_string,
        "stream": a_pointer(a_bool),
        "max_output_tokens": a_pointer(an_int),
        "input": anything,
        "instructions": a_string,
    },
    "/v1/messages": {
        "model": a_string,
        "stream": a_bool,
        "max_tokens": an_int,
        "messages": a_list,
        "system": anything,
    },
}


@dataclass(slots=True)
class GoRead:
    """The fields that Ollama holds once a body is bound; wrong names those whose type it refuses."""

    fields: dict[str, Any] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)

    @property
    def model(self) -> str:
        return str(self.fields.get("model") or self.fields.get("name") or "")

    def streams(self, *, by_default: bool) -> bool:
        stream = self.fields.get("stream")
        return by_default if stream is None else bool(stream)

    def cap(self, place: str) -> int | None:
        """The cap as Ollama obeys it: an option is a float64 cut to an integer (api.Options.FromMap)."""
        name, _, inner = place.partition(".")
        value = self.fields.get(name)
        if not inner:
            return value if type(value) is int else None
        value = (value or {}).get(inner)
        return None if value is None else int(value)


def go(path: str, body: bytes) -> GoRead:
    """What the handler of a route holds after a body; a type that does not fit is noted, as Go goes on behind it.

    Raises GoError: no JSON, or no object.
    """
    value = tree_of(body)
    read = GoRead()
    if value is None:
        return read
    if type(value) is not Object:
        raise GoError("cannot unmarshal into Go struct")
    binds = STRUCTS[path]
    for name, item in value:
        known = fold(_SURROGATE.sub("\ufffd", name))
        if known not in binds:
            continue
        try:
            read.fields[known] = binds[known](read.fields.get(known), item)
        except GoError as error:
            read.wrong[known] = str(error)
    return read
