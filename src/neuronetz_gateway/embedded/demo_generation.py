"""What Ollama's runner would do with a request (text, embeddings), apart from the shape of requests or answers."""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from neuronetz_gateway.embedded.demo_llama import LlamaServer

CONTEXT_TOKENS = 2048
# api/types.go, DefaultOptions
DEFAULT_OPTIONS: Mapping[str, Any] = {
    "temperature": 0.8,
    "top_k": 40,
    "top_p": 0.9,
    "min_p": 0.0,
    "typical_p": 1.0,
    "repeat_last_n": 64,
    "repeat_penalty": 1.1,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "seed": -1,
    "num_predict": -1,
    "stop": [],
}
INTEGERS = ("top_k", "repeat_last_n", "seed", "num_predict")
FLOATS = (
    "temperature",
    "top_p",
    "min_p",
    "typical_p",
    "repeat_penalty",
    "presence_penalty",
    "frequency_penalty",
)


class RefusedError(Exception):
    """A request that Ollama refuses, with the status it gives."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True)
class Piece:
    """A piece of text, usually of one token."""

    text: str


@dataclass(frozen=True)
class Ending:
    """How a generation ended (``stop`` or ``length``), and what it took."""

    reason: str
    prompt_tokens: int
    output_tokens: int
    prompt_seconds: float
    output_seconds: float
    total_seconds: float
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class Finished:
    """A whole generation: the text beside its ending."""

    text: str
    ending: Ending


type Generation = AsyncGenerator[Piece | Ending]


class Generator:
    """The model; ``clock`` gives monotonic seconds."""

    def __init__(self, llama: LlamaServer, clock: Callable[[], float] = time.monotonic) -> None:
        self._llama = llama
        self._clock = clock

    async def chat_prompt(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """The tokens of ``messages`` by the model's own template."""
        rendered = await self._llama.post("/apply-template", {"messages": list(messages)})
        return await self.text_prompt(rendered["prompt"])

    async def text_prompt(self, text: str) -> list[int]:
        """The tokens of ``text``, control tokens such as ``<|im_start|>`` understood."""
        body = {"content": text, "add_special": True, "parse_special": True}
        tokens: list[int] = (await self._llama.post("/tokenize", body))["tokens"]
        return tokens

    async def generate(
        self, prompt: Sequence[int], options: Mapping[str, Any], response_format: Any = None
    ) -> Generation:
        """Pieces, then one ending. A prompt past the context is cut in front, as Ollama does unasked."""
        started = self._clock()
        kept = list(prompt)[-(CONTEXT_TOKENS - 1) :]
        body = _completion(kept, options, response_format)
        produced: list[int] = []
        async with aclosing(self._llama.stream("/completion", body)) as records:
            async for record in records:
                produced += record.get("tokens", [])
                if record["content"]:
                    yield Piece(record["content"])
                if record["stop"]:
                    yield _ending(record, self._clock() - started, (*kept, *produced))

    async def embed(self, inputs: Sequence[str], *, truncate: bool) -> tuple[list[list[float]], int]:
        """One vector of length 1 an input, with the number of tokens read."""
        tokens = [await self.text_prompt(text) or [0] for text in inputs]
        if not truncate and any(len(each) > CONTEXT_TOKENS for each in tokens):
            raise RefusedError(400, "the input length exceeds the context length")
        cut = [each[:CONTEXT_TOKENS] for each in tokens]
        answers = await self._llama.post("/embedding", {"content": cut})
        vectors = [answer["embedding"][0] for answer in sorted(answers, key=lambda answer: int(answer["index"]))]
        return vectors, sum(len(each) for each in cut)


async def finished(generation: AsyncIterator[Piece | Ending]) -> Finished:
    """Gather a generation."""
    text: list[str] = []
    async for part in generation:
        if isinstance(part, Ending):
            return Finished("".join(text), part)
        text.append(part.text)
    raise RefusedError(500, "the model ended in the middle of an answer")


def checked_options(given: Mapping[str, Any], *, refused_status: int) -> dict[str, Any]:
    """Ollama's defaults under ``given``; unknown options are ignored. Raises `RefusedError` for a wrong type."""
    options = dict(DEFAULT_OPTIONS)
    for name, value in given.items():
        if name not in options or value is None:
            continue
        options[name] = _checked(name, value, refused_status)
    return options


def _checked(name: str, value: Any, refused_status: int) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if name in INTEGERS and number:
        return int(value)
    if name in FLOATS and number:
        return float(value)
    if name == "stop" and isinstance(value, list) and all(isinstance(word, str) for word in value):
        return value
    kind = "integer" if name in INTEGERS else "float32" if name in FLOATS else "array"
    raise RefusedError(refused_status, f'option "{name}" must be of type {kind}')


def _completion(prompt: list[int], options: Mapping[str, Any], response_format: Any) -> dict[str, Any]:
    body = {name: value for name, value in options.items() if name != "num_predict"}
    # 0 is dropped and a negative cap means none, both as in Ollama; the context bounds it then.
    cap = options["num_predict"]
    body |= {"prompt": prompt, "n_predict": cap if cap > 0 else -1, "stream": True, "return_tokens": True}
    if response_format == "json":
        body["json_schema"] = {"type": "object"}
    elif isinstance(response_format, dict) and response_format:
        body["json_schema"] = response_format
    elif response_format not in (None, "", {}):
        raise RefusedError(400, 'invalid format: expected "json" or a JSON schema')
    return body


def _ending(record: Mapping[str, Any], total_seconds: float, tokens: tuple[int, ...]) -> Ending:
    timings = record["timings"]
    return Ending(
        reason="length" if record["stop_type"] == "limit" else "stop",
        prompt_tokens=timings["cache_n"] + timings["prompt_n"],
        output_tokens=timings["predicted_n"],
        prompt_seconds=timings["prompt_ms"] / 1000,
        output_seconds=timings["predicted_ms"] / 1000,
        total_seconds=total_seconds,
        tokens=tokens,
    )
