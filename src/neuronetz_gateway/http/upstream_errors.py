"""What a failure of the model server is called towards callers."""

import httpx
import orjson

from neuronetz_gateway.errors import (
    GatewayError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    RequestTooLargeError,
    UpstreamBrokenError,
    UpstreamTimedOutError,
    UpstreamUnreachableError,
)

_MESSAGE_CHARACTERS = 500
_BUSY_RETRY_SECONDS = 2.0
_CALLERS_FAULT: dict[int, type[GatewayError]] = {
    400: InvalidRequestError,
    404: NotFoundError,
    413: RequestTooLargeError,
    422: InvalidRequestError,
}


def failure_of(error: httpx.TransportError) -> GatewayError:
    """A transport failure: unreachable is 503, too slow 504, broken or not HTTP 502 (PROMISES F3)."""
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout):
        return UpstreamUnreachableError("The model server cannot be reached.", retry_after_seconds=_BUSY_RETRY_SECONDS)
    if isinstance(error, httpx.TimeoutException):
        return UpstreamTimedOutError("The model server did not answer in time.")
    return UpstreamBrokenError("The model server broke off its answer.")


def refusal_of(status: int, body: bytes) -> GatewayError:
    """An error status of the model server before it generated anything (OLLAMA §3.4).

    Only what the caller can mend is passed on in the upstream's words; of its inner faults nothing is told.
    """
    kind = _CALLERS_FAULT.get(status)
    if kind is not None:
        return kind(_message(body) or "The model server refused the request.")
    if status in {429, 503}:
        return OverloadedError("The model server is busy.", retry_after_seconds=_BUSY_RETRY_SECONDS)
    return UpstreamBrokenError("The model server failed.")


def _message(body: bytes) -> str:
    try:
        error = orjson.loads(body)["error"]
        text = error if isinstance(error, str) else str(error["message"])
    except (ValueError, KeyError, TypeError):
        return ""
    text = text.replace("registry.ollama.ai/library/", "")
    return "".join(c if c.isprintable() else " " for c in text[:_MESSAGE_CHARACTERS])
