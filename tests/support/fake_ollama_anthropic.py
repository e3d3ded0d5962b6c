"""The answers of /v1/messages."""

from typing import Any

from tests.support.fake_ollama_asks import Ask
from tests.support.fake_ollama_formats import EVENT_STREAM, PLAIN_JSON, Usage, anthropic_stop, encode, event

CHARACTERS_PER_TOKEN = 4  # Ollama's estimate in message_start


class Messages:
    stream_type = EVENT_STREAM
    body_type = PLAIN_JSON
    stream_headers = (("Cache-Control", "no-cache"), ("Connection", "keep-alive"))

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._block_open = False

    def opening(self) -> list[bytes]:
        estimate = max(1, sum(len(text.encode()) for text in self._ask.texts) // CHARACTERS_PER_TOKEN)
        message = self._message([]) | {"usage": _usage(Usage(estimate, 0))}
        self._block_open = True
        block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
        return [_event({"type": "message_start", "message": message}), _event(block)]

    def token(self, text: str) -> bytes:
        return _event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}})

    def closing(self, usage: Usage | None, reason: str) -> list[bytes]:
        delta: dict[str, Any] = {"type": "message_delta", "delta": {"stop_reason": anthropic_stop(reason)}}
        if usage is not None:
            delta["usage"] = _usage(usage)
        stop = [_event({"type": "content_block_stop", "index": 0})] if self._block_open else []
        return [*stop, _event(delta), _event({"type": "message_stop"})]

    def failure(self, message: str) -> list[bytes]:
        """Nothing at all: the stream just ends."""
        del message
        return []

    def whole(self, text: str, usage: Usage | None, reason: str) -> bytes:
        body = self._message([{"type": "text", "text": text}]) | {"stop_reason": anthropic_stop(reason)}
        return encode(body | ({} if usage is None else {"usage": _usage(usage)})) + b"\n"

    def _message(self, content: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": f"msg_{self._ask.seed:024x}",
            "type": "message",
            "role": "assistant",
            "model": self._ask.model,
            "content": content,
        }


def _event(value: dict[str, Any]) -> bytes:
    return event(value, str(value["type"]))


def _usage(usage: Usage) -> dict[str, int]:
    return {"input_tokens": usage.prompt_tokens, "output_tokens": usage.output_tokens}
