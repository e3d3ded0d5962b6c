"""How long Ollama is told to keep a model: seconds, or a Go duration (api/types.go)."""

import re
from typing import Any

from neuronetz_gateway.errors import InvalidRequestError

# Go's time.Duration holds 292 years: a greater number of seconds would wrap round to one below 0.
_SECONDS_AT_MOST = 9_000_000_000
_SECONDS = re.compile(r"[+-]?[0-9]{1,10}(?:\.[0-9]{1,9})?", re.ASCII)
_GO_DURATION = re.compile(r"[+-]?(?:[0-9]{1,12}(?:\.[0-9]{1,9})?(?:ns|us|ms|s|m|h)){1,6}", re.ASCII)
_PART = re.compile(r"([0-9.]+)(ns|us|ms|s|m|h)", re.ASCII)
_UNIT_SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def length_of_time(value: Any) -> Any:
    """The length as Ollama reads it; below 0 is for ever, 0 unloads at once. Seconds in a string become a number.

    Raises InvalidRequestError: it is no length of time.
    """
    if type(value) is str:
        if _GO_DURATION.fullmatch(value):
            return value
        if _SECONDS.fullmatch(value):
            value = float(value) if "." in value else int(value)
    if type(value) in {int, float} and abs(value) <= _SECONDS_AT_MOST:
        return value
    raise InvalidRequestError(
        "'keep_alive' must be a number of seconds or a length of time such as \"5m\"; -1 is for ever, 0 unloads.",
        field="keep_alive",
    )


def seconds_of(length: float | str) -> float:
    """The seconds of what length_of_time returned."""
    if not isinstance(length, str):
        return float(length)
    seconds = sum(float(number) * _UNIT_SECONDS[unit] for number, unit in _PART.findall(length))
    return -seconds if length.startswith("-") else seconds
