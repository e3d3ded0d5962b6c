"""The answers of /api/generate, /api/chat in Ollama's own NDJSON."""

from typing import Any

from tests.support.fake_ollama_asks import Ask
from tests.support.fake_ollama_formats import CREATED_AT, NATIVE_JSON, NDJSON, Usage, encode

_DURATIONS = {"total_duration": 120000000, "load_duration": 20000000}


class Generate:
    stream_type = NDJSON
    body_type = NATIVE_JSON
    stream_headers = ()

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def opening(self) -> list[bytes]:
        return []

    def token(self, text: str) -> bytes:
        return self._record(text, {"done": False}) + b"\n"

    def closing(self, usage: Usage | None, reason: str) -> list[bytes]:
        return [self._record("", self._end(usage, reason)) + b"\n"]

    def failure(self, message: str) -> list[bytes]:
        return [encode({"error": message}) + b"\n"]

    def whole(self, text: str, usage: Usage | None, reason: str) -> bytes:
        return self._record(text, self._end(usage, reason))

    def _record(self, text: str, end: dict[str, Any]) -> bytes:
        return encode({"model": self._ask.model, "created_at": CREATED_AT} | self._text(text) | end)

    def _text(self, text: str) -> dict[str, Any]:
        return {"response": text}

    def _end(self, usage: Usage | None, reason: str) -> dict[str, Any]:
        return {"done": True, "done_reason": reason} | self._context(usage) | _DURATIONS | _counts(usage)

    def _context(self, usage: Usage | None) -> dict[str, Any]:
        """The ids of all tokens, prompt included, unless the prompt is raw (§3.2)."""
        if usage is None or self._ask.fields.get("raw") is True:
            return {}
        return {"context": [index * 7919 % 32000 for index in range(usage.total_tokens)]}


class Chat(Generate):
    def _text(self, text: str) -> dict[str, Any]:
        return {"message": {"role": "assistant", "content": text}}

    def _context(self, usage: Usage | None) -> dict[str, Any]:
        del usage
        return {}


def _counts(usage: Usage | None) -> dict[str, Any]:
    """A count of 0 is not on the wire (omitempty, §3.2)."""
    if usage is None:
        return {}
    prompt = {"prompt_eval_count": usage.prompt_tokens, "prompt_eval_duration": 10000000}
    output = {"eval_count": usage.output_tokens, "eval_duration": 90000000}
    return (prompt if usage.prompt_tokens else {}) | (output if usage.output_tokens else {})


def unload_or_load(path: str, ask: Ask) -> bytes | None:
    """The answer to a request that only loads or unloads a model (§1.1); None for every other request."""
    if ask.fields.get("messages" if path == "/api/chat" else "prompt"):
        return None
    dialect = Chat(ask) if path == "/api/chat" else Generate(ask)
    reason = "unload" if ask.fields.get("keep_alive") in {0, "0", "0s"} else "load"
    return encode(
        {"model": ask.model, "created_at": CREATED_AT} | dialect._text("") | {"done": True, "done_reason": reason}
    )
