"""The answers of the fake Ollama that think first, or call tools, on the native routes."""

from dataclasses import dataclass
from typing import Any

from tests.support.fake_ollama_asks import Ask
from tests.support.fake_ollama_formats import CREATED_AT, Usage, encode
from tests.support.fake_ollama_native import Chat, Generate


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool, whole: Ollama never streams its arguments in pieces (OLLAMA.md §7)."""

    name: str
    arguments: dict[str, Any]
    id: str = "call_0000abcd"


@dataclass(frozen=True, slots=True)
class Parts:
    """What an answer holds before its text."""

    thoughts: tuple[str, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()

    @property
    def thinking(self) -> str:
        return "".join(self.thoughts)


class GenerateInParts(Generate):
    def __init__(self, ask: Ask, parts: Parts) -> None:
        super().__init__(ask)
        self._parts = parts

    def opening(self) -> list[bytes]:
        return [self._line({"response": "", "thinking": thought}) for thought in self._parts.thoughts]

    def whole(self, text: str, usage: Usage | None, reason: str) -> bytes:
        thinking = {"thinking": self._parts.thinking} if self._parts.thoughts else {}
        return self._object(self._text(text) | thinking, self._end(usage, reason))

    def _line(self, content: dict[str, Any]) -> bytes:
        return self._object(content, {"done": False}) + b"\n"

    def _object(self, content: dict[str, Any], end: dict[str, Any]) -> bytes:
        return encode({"model": self._ask.model, "created_at": CREATED_AT} | content | end)


class ChatInParts(Chat, GenerateInParts):
    def opening(self) -> list[bytes]:
        parts: list[dict[str, Any]] = [{"thinking": thought} for thought in self._parts.thoughts]
        parts += [{"tool_calls": [native_call(call, index)]} for index, call in enumerate(self._parts.tool_calls)]
        return [self._line(self._message("", part)) for part in parts]

    def whole(self, text: str, usage: Usage | None, reason: str) -> bytes:
        parts: dict[str, Any] = {"thinking": self._parts.thinking} if self._parts.thoughts else {}
        if self._parts.tool_calls:
            parts["tool_calls"] = [native_call(call, index) for index, call in enumerate(self._parts.tool_calls)]
        return self._object(self._message(text, parts), self._end(usage, reason))

    def _message(self, text: str, parts: dict[str, Any]) -> dict[str, Any]:
        return {"message": {"role": "assistant", "content": text} | parts}


def native_call(call: ToolCall, index: int) -> dict[str, Any]:
    return {"id": call.id, "function": {"index": index, "name": call.name, "arguments": call.arguments}}
