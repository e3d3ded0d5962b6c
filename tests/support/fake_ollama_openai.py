"""The answers of /v1/chat/completions, /v1/completions."""

from typing import Any

from tests.support.fake_ollama_asks import Ask
from tests.support.fake_ollama_formats import CREATED, EVENT_STREAM, PLAIN_JSON, Usage, encode, event

DONE = b"data: [DONE]\n\n"


def openai_usage(usage: Usage) -> dict[str, int]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
    }


class ChatCompletions:
    stream_type = EVENT_STREAM
    body_type = PLAIN_JSON
    stream_headers = ()

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._id = f"chatcmpl-{ask.seed % 999}"

    def opening(self) -> list[bytes]:
        return []

    def token(self, text: str) -> bytes:
        return event(self._chunk([self._choice(text, None)]))

    def closing(self, usage: Usage | None, reason: str) -> list[bytes]:
        records = [event(self._chunk([self._choice("", reason)]))]
        if self._ask.include_usage and usage is not None:
            records.append(event(self._chunk([]) | {"usage": openai_usage(usage)}))
        return [*records, DONE]

    def failure(self, message: str) -> list[bytes]:
        """The text is lost: an empty chunk of a nameless model, without [DONE]."""
        del message
        return [event(self._chunk([self._choice("", None)]) | {"model": ""})]

    def whole(self, text: str, usage: Usage | None, reason: str) -> bytes:
        message = {"role": "assistant", "content": text}
        body = self._envelope("chat.completion", [{"index": 0, "message": message, "finish_reason": reason}])
        return encode(body | ({} if usage is None else {"usage": openai_usage(usage)})) + b"\n"

    def _choice(self, text: str, reason: str | None) -> dict[str, Any]:
        return {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": reason}

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return self._envelope("chat.completion.chunk", choices)

    def _envelope(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": kind,
            "created": CREATED,
            "model": self._ask.model,
            "system_fingerprint": "fp_ollama",
            "choices": choices,
        }


class Completions(ChatCompletions):
    """With include_usage every chunk carries a zero usage; the true one has no choices (§3.2)."""

    def __init__(self, ask: Ask) -> None:
        super().__init__(ask)
        self._id = f"cmpl-{ask.seed % 999}"

    def whole(self, text: str, usage: Usage | None, reason: str) -> bytes:
        body = self._envelope("text_completion", [self._choice(text, reason)])
        return encode(body | ({} if usage is None else {"usage": openai_usage(usage)})) + b"\n"

    def _choice(self, text: str, reason: str | None) -> dict[str, Any]:
        return {"text": text, "index": 0, "finish_reason": reason}

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        chunk = {
            "id": self._id,
            "object": "text_completion",
            "created": CREATED,
            "choices": choices,
            "model": self._ask.model,
            "system_fingerprint": "fp_ollama",
        }
        return chunk | ({"usage": openai_usage(Usage(0, 0))} if self._ask.include_usage else {})
