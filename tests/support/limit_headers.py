"""The limit headers as a caller reads them, on each of the three protocols."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

MESSAGES = [{"role": "user", "content": "Hello"}]
_GO_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


@dataclass(frozen=True, slots=True)
class Told:
    """One axis of an answer's headers; reset is seconds (x-ratelimit) or a moment (anthropic-ratelimit)."""

    limit: int
    left: int
    reset: float | datetime | None


@dataclass(frozen=True, slots=True)
class Tongue:
    """A protocol as its caller speaks it."""

    path: str
    header: str  # with {axis} and {figure}

    def body(self, *, cap: int = 10, stream: bool = False) -> dict[str, Any]:
        capped = {"options": {"num_predict": cap}} if self.path.startswith("/api/") else {"max_tokens": cap}
        return {"model": "fakea", "messages": MESSAGES, "stream": stream, **capped}

    def told(self, headers: Mapping[str, str], axis: str) -> Told | None:
        """What the headers tell of requests or tokens; None where they name no limit of it."""
        limit, left, reset = (headers.get(self.header.format(axis=axis, figure=f)) for f in FIGURES)
        if limit is None:
            assert left is None
            assert reset is None
            return None
        assert left is not None
        return Told(int(limit), int(left), None if reset is None else self._reset(reset))

    def _reset(self, text: str) -> float | datetime:
        if self.header.startswith("x-"):
            return seconds_of(text)
        assert text.endswith("Z")
        return datetime.fromisoformat(text)


FIGURES = ("limit", "remaining", "reset")
NATIVE = Tongue("/api/chat", "x-ratelimit-{figure}-{axis}")
OPENAI = Tongue("/v1/chat/completions", "x-ratelimit-{figure}-{axis}")
ANTHROPIC = Tongue("/v1/messages", "anthropic-ratelimit-{axis}-{figure}")
TONGUES = (NATIVE, OPENAI, ANTHROPIC)


def seconds_of(duration: str) -> float:
    """A duration as Go's time.ParseDuration reads it, of the units that are sent."""
    pieces = re.findall(r"([0-9.]+)(ms|h|m|s)", duration)
    assert "".join(number + unit for number, unit in pieces) == duration, duration
    return sum(float(number) * _GO_UNITS[unit] for number, unit in pieces)


def none_of(headers: Mapping[str, str]) -> bool:
    """Whether an answer tells nothing of limits."""
    return not any("ratelimit" in name for name in headers)
