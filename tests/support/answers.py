"""The bytes that the fake Ollama would answer a body with, without a server."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from neuronetz_gateway.surfaces.surface import Call, Endpoint, Inference, Meter, RequestRules
from tests.support.fake_ollama_answering import DIALECTS, IN_PARTS
from tests.support.fake_ollama_asks import Ask, decode_like_go, read_ask
from tests.support.fake_ollama_formats import Dialect, Usage
from tests.support.fake_ollama_metadata import embedding_reply
from tests.support.fake_ollama_parts import Parts
from tests.support.valid_bodies import body_of

GRANTED = 1000


def inference_of(endpoint: Endpoint) -> Inference:
    assert endpoint.inference is not None
    return endpoint.inference


def call_of(endpoint: Endpoint, *, stream: bool) -> Call:
    body = body_of(endpoint, stream=stream)
    return inference_of(endpoint).read(json.loads(json.dumps(body)), RequestRules())


def ask_of(endpoint: Endpoint, call: Call) -> Ask:
    return read_ask(endpoint.path, decode_like_go(inference_of(endpoint).write(call, GRANTED)))


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers of one route, in its own format."""

    endpoint: Endpoint
    parts: Parts | None = None

    def meter(self, *, stream: bool = True) -> Meter:
        return inference_of(self.endpoint).new_meter(call_of(self.endpoint, stream=stream))

    def stream(self, texts: Sequence[str], usage: Usage | None, *, reason: str = "stop") -> list[bytes]:
        """The records of a whole stream."""
        return [*self.beginning(texts), *self._closing(texts, usage, reason)]

    def beginning(self, texts: Sequence[str]) -> list[bytes]:
        """The records of a stream that has not ended."""
        dialect = self._dialect(stream=True)
        return [*dialect.opening(), *map(dialect.token, texts)]

    def failed(self, texts: Sequence[str]) -> list[bytes]:
        """What a dying runner leaves (OLLAMA §3.5)."""
        dialect = self._dialect(stream=True)
        return [*dialect.opening(), *map(dialect.token, texts), *dialect.failure("the runner died")]

    def body(self, text: str, usage: Usage | None) -> bytes:
        """An answer in one piece, of an embedding too."""
        if self.endpoint.path not in DIALECTS:
            ask = ask_of(self.endpoint, call_of(self.endpoint, stream=False))
            return embedding_reply(self.endpoint.path, ask, usage).body
        return self._dialect(stream=False).whole(text, usage, "stop")

    def _closing(self, texts: Sequence[str], usage: Usage | None, reason: str) -> list[bytes]:
        dialect = self._dialect(stream=True)
        dialect.opening()
        for text in texts:  # some repeat the whole answer at its end
            dialect.token(text)
        return dialect.closing(usage, reason)

    def _dialect(self, *, stream: bool) -> Dialect:
        ask = ask_of(self.endpoint, call_of(self.endpoint, stream=stream))
        if self.parts is not None and self.endpoint.path in IN_PARTS:
            return IN_PARTS[self.endpoint.path](ask, self.parts)
        return DIALECTS[self.endpoint.path](ask)
