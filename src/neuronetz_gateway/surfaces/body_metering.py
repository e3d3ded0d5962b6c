"""The meter of answers that are one JSON body, of any size."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from neuronetz_gateway.domain.usage import MeterReading
from neuronetz_gateway.surfaces.framing import json_object, token_count

WHOLE_BYTES = 256 << 10  # up to here a body is held, then parsed once
_OVERLAP_BYTES = 64  # no key with its figure is longer, so that none is missed where it comes in two chunks
_DONE = b'"done":true'
_SPACES = r"[ \t\r\n]{0,8}"
_THOUGHT = re.compile(
    f'"(?:thinking|reasoning)"{_SPACES}:{_SPACES}"[^"]|"type"{_SPACES}:{_SPACES}"reasoning"'.encode()
)  # a text, or an item of Responses; within a string the quotes would have backslashes
_JSON_SPACE = b" \t\r\n"


@dataclass(frozen=True, slots=True)
class UsageKeys:
    """Where a body says what was consumed: two keys, in the object `inside` if there is one.

    output None is for embeddings. done says that the body must hold `"done":true` to be whole.
    """

    prompt: str
    output: str | None
    inside: str | None = None
    done: bool = False


@lru_cache(maxsize=8)
def _pattern(keys: UsageKeys) -> re.Pattern[bytes]:
    names = "|".join(name for name in (keys.prompt, keys.output) if name)
    return re.compile(f'"({names})"{_SPACES}:{_SPACES}([0-9]{{1,12}})'.encode())


class BodyMeter:
    """Reads the usage of a body: the parsed one if it is small, else by its keys, wherever they stand.

    Of a key that is seen more than once in a large body, as in the arguments of a tool call, the greatest figure
    counts, so that no text can lower a charge.

    runs_twice says that a model which thinks was run twice, where Ollama reports the second run alone (OLLAMA §3.3): an
    answer that shows thoughts then has no output figure that could be believed.
    """

    __slots__ = (
        "_bytes",
        "_done",
        "_figures",
        "_held",
        "_keys",
        "_opened",
        "_runs_twice",
        "_spilled",
        "_tail",
        "_thought",
    )

    counted_output = 0

    def __init__(self, keys: UsageKeys, *, runs_twice: bool = False) -> None:
        self._keys, self._runs_twice = keys, runs_twice
        self._held: list[bytes] = []
        self._bytes = 0
        self._spilled = self._done = self._thought = False
        self._opened: bool | None = None  # until its first sign has come
        self._tail = b""
        self._figures: dict[str, int] = {}

    def feed(self, chunk: bytes) -> None:
        self._bytes += len(chunk)
        if self._spilled:
            self._scan(chunk)
            return
        self._held.append(chunk)
        if self._bytes > WHOLE_BYTES:
            body = b"".join(self._held)
            self._held = []
            self._spilled = True
            self._scan(body)

    def reading(self) -> MeterReading:
        if self._spilled:
            whole = self._opened is True and self._tail.rstrip(_JSON_SPACE).endswith(b"}")
            return self._reading(self._figures, terminated=whole and (self._done or not self._keys.done))
        text = b"".join(self._held)
        self._thought = _THOUGHT.search(text) is not None
        body = json_object(text)
        if body is None:
            return MeterReading(uncounted_bytes=self._bytes)
        if body.get("error"):
            return MeterReading(failed=True)
        figures = body.get(self._keys.inside) if self._keys.inside else body
        terminated = body.get("done") is True if self._keys.done else True
        return self._reading(figures if type(figures) is dict else {}, terminated=terminated)

    def _reading(self, figures: dict[str, Any], *, terminated: bool) -> MeterReading:
        output = None if self._runs_twice and self._thought else self._keys.output
        return MeterReading(
            prompt_tokens=token_count(figures.get(self._keys.prompt)),
            output_tokens=token_count(figures.get(output)) if output else None,
            terminated=terminated,
            uncounted_bytes=0 if terminated else self._bytes,
        )

    def _scan(self, chunk: bytes) -> None:
        window = self._tail + chunk
        if self._opened is None and (begun := window.lstrip(_JSON_SPACE)):
            self._opened = begun.startswith(b"{")
        for found in _pattern(self._keys).finditer(window):
            name, figure = found[1].decode(), int(found[2])
            self._figures[name] = max(figure, self._figures.get(name, 0))
        self._done = self._done or _DONE in window
        self._thought = self._thought or _THOUGHT.search(window) is not None
        self._tail = window[-_OVERLAP_BYTES:]
