"""What a failure of the model server is called towards callers."""

from http import HTTPStatus

import httpx

from neuronetz_gateway.errors import (
    GatewayError,
    InvalidRequestError,
    ModelNotFoundError,
    OverloadedError,
    RequestTooLargeError,
    UpstreamBrokenError,
    UpstreamTimedOutError,
    UpstreamTooOldError,
    UpstreamUnreachableError,
)
from neuronetz_gateway.http.upstream_words import known, plain, words_of
from neuronetz_gateway.upstream.timing import SilenceError

_OF_THE_REQUEST = frozenset({400, 413, 422, 500, 501})  # 500 also for options of the wrong type (OLLAMA §3.4)
_TOO_OLD = "The model server does not know this endpoint; it may be too old for it."
_BUSY = "The model server is busy."
_TOLD: dict[int, tuple[type[GatewayError], str]] = {
    404: (UpstreamTooOldError, _TOO_OLD),
    405: (UpstreamTooOldError, _TOO_OLD),
    413: (RequestTooLargeError, "The request is too large for the model server."),
    429: (OverloadedError, _BUSY),
    503: (OverloadedError, _BUSY),
    504: (UpstreamTimedOutError, "The model server did not answer in time."),
    529: (OverloadedError, _BUSY),
}


def failure_of(error: httpx.TransportError) -> GatewayError:
    """A transport failure: unreachable is 503, too slow 504, broken or not HTTP 502 (PROMISES F3)."""
    if isinstance(error, httpx.ConnectTimeout | httpx.PoolTimeout):
        return UpstreamUnreachableError("The model server did not take a connection in time.")
    if isinstance(error, httpx.ConnectError):
        return UpstreamUnreachableError("The model server cannot be reached.")
    if isinstance(error, SilenceError):
        return UpstreamTimedOutError("The model server fell silent within its answer.")
    if isinstance(error, httpx.WriteTimeout):
        return UpstreamTimedOutError("The model server did not take the request in time.")
    if isinstance(error, httpx.TimeoutException):
        return UpstreamTimedOutError("The model server did not begin to answer in time.")
    return UpstreamBrokenError("The model server broke off its answer.")


def refusal_of(status: int, body: bytes, model: str) -> GatewayError:
    """An error status of the model server before it generated anything (OLLAMA §3.4); `model` is the one asked for.

    Only what the caller can mend is passed on, in the gateway's words or in words that say nothing of the host. Where
    the model server refused the gateway itself (401, 403, 407; a redirect) the operator alone can help: that is 502.
    """
    words = words_of(body)
    if status in _OF_THE_REQUEST:
        told = known(words, model)
        if told is not None:
            return told
    if status in {400, 422}:
        return InvalidRequestError(plain(words) or "The model server refused the request.")
    if status == HTTPStatus.NOT_FOUND and words and model:  # without words it was its router that knew no such path
        return ModelNotFoundError(model)
    kind, sentence = _TOLD.get(status, (UpstreamBrokenError, "The model server failed."))
    return kind(sentence)
