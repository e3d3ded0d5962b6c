"""The headers with which every answer tells what is left of the limits."""

from datetime import UTC, datetime
from functools import lru_cache

from neuronetz_gateway.domain.standing import AxisStanding, Standing

type Headers = list[tuple[bytes, bytes]]

_MICROSECONDS = 1_000_000


def openai_names(standing: Standing) -> Headers:
    """x-ratelimit-*, with durations as Go writes them (OLLAMA §6.1); only axes that have a limit are named."""
    headers: Headers = []
    requests, tokens = standing.requests, standing.tokens
    if requests is not None:
        headers.append((b"x-ratelimit-limit-requests", b"%d" % requests.limit))
        headers.append((b"x-ratelimit-remaining-requests", b"%d" % requests.left))
        if requests.reset_seconds is not None:
            headers.append((b"x-ratelimit-reset-requests", go_duration(requests.reset_seconds)))
    if tokens is not None:
        headers.append((b"x-ratelimit-limit-tokens", b"%d" % tokens.limit))
        headers.append((b"x-ratelimit-remaining-tokens", b"%d" % tokens.left))
        if tokens.reset_seconds is not None:
            headers.append((b"x-ratelimit-reset-tokens", go_duration(tokens.reset_seconds)))
    return headers


def anthropic_names(standing: Standing) -> Headers:
    """anthropic-ratelimit-*, with moments as RFC 3339 (OLLAMA §6.1); only axes that have a limit are named."""
    headers: Headers = []
    requests, tokens = standing.requests, standing.tokens
    if requests is not None:
        headers.append((b"anthropic-ratelimit-requests-limit", b"%d" % requests.limit))
        headers.append((b"anthropic-ratelimit-requests-remaining", b"%d" % requests.left))
        if requests.reset_seconds is not None:
            headers.append((b"anthropic-ratelimit-requests-reset", _moment(standing, requests)))
    if tokens is not None:
        headers.append((b"anthropic-ratelimit-tokens-limit", b"%d" % tokens.limit))
        headers.append((b"anthropic-ratelimit-tokens-remaining", b"%d" % tokens.left))
        if tokens.reset_seconds is not None:
            headers.append((b"anthropic-ratelimit-tokens-reset", _moment(standing, tokens)))
    return headers


@lru_cache(maxsize=16)  # both axes of an answer mostly end together
def go_duration(seconds: float) -> bytes:
    """A duration as Go's time.Duration.String() writes it, of whole milliseconds, rounded up.

    12ms, 59.5s, 1m0.5s, 1h0m0s. Below a millisecond Go's unit has a letter that no header may hold.
    """
    milliseconds = -(round(seconds * _MICROSECONDS) // -1000)
    if milliseconds <= 0:
        return b"0s"
    whole, rest = divmod(milliseconds, 1000)
    if whole == 0:
        return b"%dms" % rest
    minutes, whole = divmod(whole, 60)
    text = b"%d" % whole if rest == 0 else (b"%d.%03d" % (whole, rest)).rstrip(b"0")
    if minutes == 0:
        return text + b"s"
    hours, minutes = divmod(minutes, 60)
    return b"%dm%ss" % (minutes, text) if hours == 0 else b"%dh%dm%ss" % (hours, minutes, text)


def _moment(standing: Standing, axis: AxisStanding) -> bytes:
    """When an axis is back, to the second, rounded up: windows end with seconds, so that nothing is lost by it."""
    microseconds = round((standing.at.timestamp() + (axis.reset_seconds or 0.0)) * _MICROSECONDS)
    return _second(-(microseconds // -_MICROSECONDS))


@lru_cache(maxsize=256)  # within a second all answers name the same one
def _second(timestamp: int) -> bytes:
    return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%dT%H:%M:%SZ").encode("ascii")
