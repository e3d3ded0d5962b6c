"""The one table of what every failure is called on every surface."""

from dataclasses import dataclass

from neuronetz_gateway import errors
from neuronetz_gateway.errors import GatewayError

_INVALID = "invalid_request_error"
_FORBIDDEN = "permission_error"
_MISSING = "not_found_error"
_LIMITED = "rate_limit_error"
_FAILED = "api_error"


@dataclass(frozen=True, slots=True)
class Failure:
    """One row: an error of the gateway, when it happens, its type on each surface, what an SDK should do.

    The status and the code are the error's own; Ollama's protocol has neither types nor codes (OLLAMA §3.4, §6). The
    types are those that the users of each SDK know. `retry` says why a request should, or should not, be sent again.

    should_retry is sent as x-should-retry; None leaves it to the rule of the OpenAI and Anthropic SDKs, which repeat
    408, 409, 429 and everything from 500 on, twice (OLLAMA §6). hint_seconds is about when to come back, where the
    error itself does not know it; each request is told another moment around it.
    """

    error: type[GatewayError]
    when: str
    openai_type: str
    anthropic_type: str
    retry: str
    should_retry: bool | None = None
    hint_seconds: float | None = None


_MEND = "The same request would be refused again: mend it first."
_NOTHING_CHARGED = "Nothing was generated, so nothing is charged; it passes by itself."

FAILURES: tuple[Failure, ...] = (
    Failure(
        errors.InvalidRequestError,
        "The request itself is wrong; the message names the field and the mend.",
        _INVALID,
        _INVALID,
        _MEND,
    ),
    Failure(
        errors.ContextExceededError,
        "The prompt is longer than the context of the model, so that the model server refused it.",
        _INVALID,
        _INVALID,
        _MEND,
    ),
    Failure(
        errors.RequestBeyondLimitError,
        "The request may need more tokens than the whole of the key's or its tenant's tokens a minute.",
        _INVALID,
        _INVALID,
        _MEND,
    ),
    Failure(
        errors.MalformedRequestError,
        "What came is no request of HTTP/1.1, or may be read in two ways: its head (400), its size (431), its `Expect` "
        "(417), its method or transfer coding (501), its version (505). The connection is closed.",
        _INVALID,
        _INVALID,
        _MEND,
        should_retry=False,
    ),
    Failure(
        errors.UnauthenticatedError,
        "There is no valid key: missing, malformed, unknown, wrong, revoked, expired; one answer for all of them.",
        _INVALID,
        "authentication_error",
        "The same key would be refused again.",
    ),
    Failure(
        errors.TenantSuspendedError,
        "The tenant is suspended.",
        _FORBIDDEN,
        _FORBIDDEN,
        "Only the operator can lift it.",
    ),
    Failure(
        errors.ModelForbiddenError,
        "The key may not use the model, whether it is there or not.",
        _FORBIDDEN,
        _FORBIDDEN,
        "The list of models shows which it may use.",
    ),
    Failure(
        errors.LoadingForbiddenError,
        "An empty prompt would load or unload the model, which the key may not.",
        _FORBIDDEN,
        _FORBIDDEN,
        _MEND,
    ),
    Failure(
        errors.AddressForbiddenError,
        "The key may be used from some networks alone, of which the caller's is none.",
        _FORBIDDEN,
        _FORBIDDEN,
        "Only the operator can change it.",
    ),
    Failure(
        errors.EndpointBlockedError,
        "The endpoint changes or shows what is the operator's: closed for everybody.",
        _FORBIDDEN,
        _FORBIDDEN,
        "It is never open.",
    ),
    Failure(
        errors.EndpointNotFoundError, "There is no such endpoint, or not with this method.", _MISSING, _MISSING, _MEND
    ),
    Failure(errors.ModelNotFoundError, "The model server has no such model.", _MISSING, _MISSING, _MEND),
    Failure(
        errors.RequestTimeoutError,
        "The request body came too slowly (BODY_TIMEOUT_S); the connection is closed.",
        _INVALID,
        _INVALID,
        "Nothing was generated, so nothing is charged; a new connection may be faster.",
    ),
    Failure(
        errors.RequestTooLargeError,
        "The request body is larger than MAX_BODY_BYTES.",
        _INVALID,
        "request_too_large",
        _MEND,
    ),
    Failure(errors.UnsupportedMediaTypeError, "The request body is compressed.", _INVALID, _INVALID, _MEND),
    Failure(
        errors.RateLimitedError,
        "A limit of the key or its tenant is reached, or too many bad keys came from one address.",
        _LIMITED,
        _LIMITED,
        "A refused request consumes nothing; the headers say when there is room again.",
    ),
    Failure(
        errors.BudgetExceededError,
        "A token budget cannot hold the request. Retry-After is the start of its next period, if waiting helps.",
        "insufficient_quota",
        _LIMITED,
        "The budget may open again in a month only, for which an SDK would sleep.",
        should_retry=False,
    ),
    Failure(
        GatewayError,
        "A defect of the gateway itself; its log has the cause under the request id.",
        _FAILED,
        _FAILED,
        "A defect repeats itself, and what had gone up to the model is charged each time.",
        should_retry=False,
    ),
    Failure(
        errors.UpstreamBrokenError,
        "The model server failed, or broke off its answer.",
        _FAILED,
        _FAILED,
        "Mostly it is being restarted, so that a second attempt is what a caller wants. What failed with a status is "
        "free; an answer that broke off is charged with its prompt, each time, within limits and budgets.",
    ),
    Failure(
        errors.UpstreamTooOldError,
        "The model server does not know this endpoint: its version is too old for it.",
        _FAILED,
        _FAILED,
        "It would not know it the next time either; only the operator can update it.",
        should_retry=False,
    ),
    Failure(
        errors.AnswerUnreadableError,
        "The model server could not read what its model generated, such as a malformed call of a tool.",
        _FAILED,
        _FAILED,
        "The prompt is charged, since the model has worked; each further try would be charged as well.",
        should_retry=False,
    ),
    Failure(
        errors.AnswerCutError,
        "The gateway ended the answer: it went past its reservation, its place under the limits or its reservation was "
        "lost, or its key was revoked.",
        _FAILED,
        _FAILED,
        "It was cut on purpose, and what it had consumed is charged.",
        should_retry=False,
    ),
    Failure(
        errors.UnavailableError,
        "A store of the gateway is away or did not answer in time.",
        _FAILED,
        _FAILED,
        _NOTHING_CHARGED,
        hint_seconds=1.0,
    ),
    Failure(
        errors.OverloadedError,
        "The gateway or the model server has as much to do as it can hold.",
        _FAILED,
        "overloaded_error",
        _NOTHING_CHARGED,
        hint_seconds=2.0,
    ),
    Failure(
        errors.StalePrincipalError,
        "The settings of the key were changed, twice, while the request was let in.",
        _FAILED,
        _FAILED,
        _NOTHING_CHARGED,
        hint_seconds=1.0,
    ),
    Failure(
        errors.ShuttingDownError,
        "The gateway was told to end, and the request was not done when its drain (DRAIN_TIMEOUT_S) was over.",
        _FAILED,
        _FAILED,
        "Another gateway, or the next one at this address, serves it. Of an answer that had begun, what was generated "
        "is charged.",
        hint_seconds=1.0,
    ),
    Failure(
        errors.UpstreamUnreachableError,
        "The model server cannot be reached.",
        _FAILED,
        _FAILED,
        _NOTHING_CHARGED,
        hint_seconds=2.0,
    ),
    Failure(
        errors.UpstreamTimedOutError,
        "The model server was too slow (UPSTREAM_FIRST_BYTE_TIMEOUT_S, UPSTREAM_TOTAL_TIMEOUT_S and the like).",
        _FAILED,
        "timeout_error",
        "What the model worked on is charged; twice more would mean two more such waits, with the same end.",
        should_retry=False,
    ),
)

_BY_ERROR = {failure.error: failure for failure in FAILURES}


def failure_of(error: GatewayError) -> Failure:
    """The row of an error: its own, else that of the nearest ancestor."""
    return next(_BY_ERROR[kind] for kind in type(error).__mro__ if kind in _BY_ERROR)
