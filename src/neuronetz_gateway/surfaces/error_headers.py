"""The headers with which a refusal tells a caller's SDK what to do."""

import math

from neuronetz_gateway.errors import GatewayError

type Headers = list[tuple[bytes, bytes]]

_UNAUTHENTICATED = 401
_RETRY_SOON = frozenset({429, 503})
_MILLISECONDS = 1000


def retry_headers(error: GatewayError) -> Headers:
    """When to come back, whether at all, how to sign in (OLLAMA §6.1).

    SDKs sleep for as long as retry-after-ms says, so it goes out only where that is short: never for a budget,
    whose window may end in a month.
    """
    headers: Headers = []
    seconds = error.retry_after_seconds
    if seconds is not None:
        milliseconds = max(0, math.ceil(round(seconds * _MILLISECONDS, 3)))
        headers.append((b"retry-after", str(max(1, math.ceil(milliseconds / _MILLISECONDS))).encode()))
        if error.status in _RETRY_SOON and error.may_retry is not False:
            headers.append((b"retry-after-ms", str(milliseconds).encode()))
    if error.may_retry is not None:
        headers.append((b"x-should-retry", b"true" if error.may_retry else b"false"))
    if error.status == _UNAUTHENTICATED:
        headers.append((b"www-authenticate", b"Bearer"))
    return headers
