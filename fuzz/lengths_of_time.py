"""Target: a length of time is what Ollama takes it for, within what the policy allows."""

import json
from typing import Any

from fuzz.target import Target, must
from neuronetz_gateway.domain.request_policy import RequestPolicy
from neuronetz_gateway.errors import InvalidRequestError
from neuronetz_gateway.surfaces.fields import DROPPED
from neuronetz_gateway.surfaces.length_of_time import length_of_time, seconds_of
from neuronetz_gateway.surfaces.policed_fields import keep_alive
from neuronetz_gateway.surfaces.screening import Screening
from tests.support.go_durations import FOR_EVER, NoDurationError, nanoseconds

_NANO = 1e-9
_MOST_SECONDS = (0, 60, 3600, 30 * 86400)


def lasts_alike(value: Any) -> None:
    try:
        sent = length_of_time(value)
    except InvalidRequestError:
        return
    try:
        meant = nanoseconds(sent)
    except NoDurationError:  # too many hours for Go: the caller has a 400 of Ollama's
        must(isinstance(sent, str) and abs(seconds_of(sent)) >= FOR_EVER * _NANO, "sent what Ollama refuses:", sent)
        return
    seconds = seconds_of(sent)
    if meant == FOR_EVER:  # or 292 years exactly
        must(seconds < 0 or seconds >= FOR_EVER * _NANO, "for ever to Ollama alone:", sent)
    else:
        must(abs(meant * _NANO - abs(seconds)) <= 2e-8 + abs(seconds) * 1e-9, "another length to Ollama:", sent, meant)
        must(seconds >= 0 or meant == 0, "for ever to the gateway alone:", sent)
    if isinstance(value, str) and isinstance(sent, str):
        must(value == sent, "another text is sent")


def is_bounded(value: Any, most_seconds: int) -> None:
    screening = Screening(RequestPolicy(max_keep_alive_seconds=most_seconds))
    try:
        sent = keep_alive(value, "keep_alive", screening)
    except InvalidRequestError:
        return
    if sent is DROPPED:
        must(not most_seconds, "left out although it is allowed")
        return
    must(type(sent) in {int, float} and min(300, most_seconds) <= sent <= most_seconds, "out of bounds:", sent)
    must(nanoseconds(sent) <= most_seconds * 10**9, "longer to Ollama:", sent)
    json.dumps(sent, allow_nan=False)


def check(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    for value in (text, _number(text)):
        lasts_alike(value)
        for most_seconds in _MOST_SECONDS:
            is_bounded(value, most_seconds)


def _number(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _seeds() -> list[bytes]:
    return [
        b"5m", b"-1", b"0", b"1h30m", b"-1s", b"1.5h", b"300", b"9000000000", b"9e18", b"1e-10", b"+5m", b"-0", b"-0.0",
        b"999999999999h", b"2562047h47m16s", b"2562047h47m17s", b".5s", b"1.s", b"1us", b"\xc2\xb5s", b"0x1p3", b"1e3s",
    ]  # fmt: skip


TARGET = Target(check, _seeds, (b"ns", b"us", b"ms", b"s", b"m", b"h", b"-", b"+", b".", b"0", b"e", b"Infinity"))
