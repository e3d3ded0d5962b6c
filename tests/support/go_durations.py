"""How Ollama reads keep_alive (api/types.go Duration.UnmarshalJSON, Go's time.ParseDuration)."""

import re
from fractions import Fraction
from typing import Any

FOR_EVER = (1 << 63) - 1
_UNITS = {"ns": 1, "us": 1_000, "\u00b5s": 1_000, "\u03bcs": 1_000, "ms": 10**6, "s": 10**9, "m": 60 * 10**9}
_UNITS["h"] = 3600 * 10**9
_PART = re.compile("([0-9]*)(?:(\\.)([0-9]*))?(ns|us|\u00b5s|\u03bcs|ms|s|m|h)")


class NoDurationError(ValueError):
    """Ollama would answer 400."""


def nanoseconds(value: Any) -> int:
    """For how long a model is kept; FOR_EVER for every length below 0.

    Raises NoDurationError: it is no length of time. Raises OverflowError: Go's own result would depend on the machine.
    """
    if isinstance(value, str):
        length = _parsed(value)
    elif type(value) in {int, float}:
        length = int(float(value) * 1e9)
        if value >= 0 and length > FOR_EVER:
            raise OverflowError("a float64 that no int64 holds")
    else:
        raise NoDurationError("unsupported type")
    return FOR_EVER if length < 0 or (not isinstance(value, str) and value < 0) else length


def _parsed(text: str) -> int:
    sign, rest = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    if rest == "0":
        return 0
    if not rest:
        raise NoDurationError("invalid duration")
    total = 0
    while rest:
        part = _PART.match(rest)
        if part is None or not (part[1] or part[3]):
            raise NoDurationError("invalid duration or missing unit")
        total += int(Fraction(f"{part[1] or 0}.{part[3] or 0}") * _UNITS[part[4]])
        if total > FOR_EVER + (sign < 0):
            raise NoDurationError("invalid duration: overflow")
        rest = rest[part.end() :]
    return sign * total
