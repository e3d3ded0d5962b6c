"""What every dialect of the fake Ollama is made of."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from tests.support.fake_ollama_asks import Ask
from tests.support.fake_ollama_paths import Family

# Fixed, so that the same request has the same answer to the byte.
CREATED_AT = "2026-08-21T12:00:00.123456789Z"
CREATED = 1787313600

NDJSON = "application/x-ndjson"
EVENT_STREAM = "text/event-stream"
NATIVE_JSON = "application/json; charset=utf-8"
PLAIN_JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Usage:
    prompt_tokens: int
    output_tokens: int

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.output_tokens


class Dialect(Protocol):
    """How one route writes one answer; an object lives as long as its answer."""

    @property
    def stream_type(self) -> str:
        """Content-Type of a stream."""

    @property
    def body_type(self) -> str:
        """Content-Type of a whole body."""

    @property
    def stream_headers(self) -> tuple[tuple[str, str], ...]: ...

    def opening(self) -> list[bytes]:
        """The records before the first token."""

    def token(self, text: str) -> bytes: ...

    def closing(self, usage: Usage | None, reason: str) -> list[bytes]:
        """The records after the last token, the terminator being the last; without usage where it is None."""

    def failure(self, message: str) -> list[bytes]:
        """The records that a dying runner leaves (OLLAMA.md §3.5)."""

    def whole(self, text: str, usage: Usage | None, reason: str) -> bytes: ...


type MakeDialect = Callable[[Ask], Dialect]


def encode(value: Any) -> bytes:
    """JSON as Go writes it: compact, UTF-8, with the signs of HTML escaped."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026").encode(errors="replace")


def event(value: Any, name: str = "") -> bytes:
    """One server-sent event."""
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + encode(value) + b"\n\n"


def anthropic_stop(reason: str) -> str:
    return {"stop": "end_turn", "length": "max_tokens"}.get(reason, "stop_sequence")


def refusal(family: Family, status: int, message: str) -> bytes:
    """An error before the first byte, in the shape of the route's family (§3.4)."""
    if family is Family.NATIVE:
        return encode({"error": message})
    if family is Family.OPENAI:
        kind = {400: "invalid_request_error", 404: "not_found_error"}.get(status, "api_error")
        error = {"message": message, "type": kind, "param": None, "code": None}
        return encode({"error": error}) + b"\n"
    kinds = {
        400: "invalid_request_error",
        401: "authentication_error",
        403: "permission_error",
        404: "not_found_error",
        429: "rate_limit_error",
        503: "overloaded_error",
        529: "overloaded_error",
    }
    error = {"type": kinds.get(status, "api_error"), "message": message}
    return encode({"type": "error", "error": error, "request_id": "req_000000000000000000000001"}) + b"\n"
