"""The headers with which a refusal tells a caller's SDK what to do."""

import math
from binascii import crc32

from neuronetz_gateway.errors import GatewayError
from neuronetz_gateway.surfaces.failures import failure_of

type Headers = list[tuple[bytes, bytes]]

# openai-python gives up where it would have to wait longer; the Anthropic SDKs would sleep for days (OLLAMA §6.1).
LONGEST_SLEEP_SECONDS = 120.0
_UNAUTHENTICATED = 401
_MILLISECONDS = 1000


def retry_headers(error: GatewayError, request_id: str) -> Headers:
    """When to come back, whether at all, how to sign in (OLLAMA §6.1).

    SDKs sleep for as long as they are told, so whatever is further away than LONGEST_SLEEP_SECONDS is not to be
    retried by itself. retry-after-ms, which they prefer, goes out only where they shall retry; it is never 0, which
    some take for "at once", others for "unknown".
    """
    headers: Headers = []
    seconds, should_retry = _wait_seconds(error, request_id), failure_of(error).should_retry
    if seconds is not None:
        if seconds > LONGEST_SLEEP_SECONDS:
            should_retry = False
        milliseconds = max(1, math.ceil(round(seconds * _MILLISECONDS, 3)))
        headers.append((b"retry-after", str(math.ceil(milliseconds / _MILLISECONDS)).encode()))
        if should_retry is not False:
            headers.append((b"retry-after-ms", str(milliseconds).encode()))
    if should_retry is not None:
        headers.append((b"x-should-retry", b"true" if should_retry else b"false"))
    if error.status == _UNAUTHENTICATED:
        headers.append((b"www-authenticate", b"Bearer"))
    return headers


def _wait_seconds(error: GatewayError, request_id: str) -> float | None:
    """The moment that the error knows, else one around the hint of its row."""
    if error.retry_after_seconds is not None:
        return error.retry_after_seconds
    hint = failure_of(error).hint_seconds
    return None if hint is None else hint * (0.5 + _share(request_id))


def _share(request_id: str) -> float:
    """From 0 to 1, another for each request: whoever was refused at the same moment shall not come back at the same."""
    return crc32(request_id.encode()) / 2**32
