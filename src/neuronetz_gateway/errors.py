"""Every way in which the gateway says no.

GatewayError
├── InvalidRequestError          400  the request itself is wrong; names the field
│   ├── ContextExceededError
│   ├── RequestBeyondLimitError
│   ├── MalformedRequestError    400, 417, 431, 501, 505  no request of HTTP/1.1
│   ├── RequestBeyondPolicyError
│   ├── RequestTooLargeError     413
│   ├── UnsupportedMediaTypeError 415
│   └── RequestTimeoutError      408
├── UnauthenticatedError         401  one answer for every bad key
├── ForbiddenError               403
│   ├── TenantSuspendedError
│   ├── ModelForbiddenError
│   ├── LoadingForbiddenError
│   ├── AddressForbiddenError
│   └── EndpointBlockedError
├── NotFoundError                404  what was named is not there
│   ├── EndpointNotFoundError
│   └── ModelNotFoundError
├── ConflictError                409  the command line's: it exists already
├── RateLimitedError             429  names the limit that fired
├── BudgetExceededError          429  insufficient_quota, not to be retried
├── UnavailableError             503  a store or the model server is away
│   ├── OverloadedError
│   ├── StalePrincipalError
│   ├── ShuttingDownError
│   └── UpstreamUnreachableError
├── UpstreamBrokenError          502
│   ├── UpstreamTooOldError      501  it has no such endpoint
│   └── AnswerUnreadableError
├── AnswerCutError               502  ended by the gateway itself
└── UpstreamTimedOutError        504

How each is told, on which surface, and whether it should be retried: surfaces/failures.py.
"""


class GatewayError(Exception):
    """A refusal that the caller may see; the cause goes to the log, never to the caller.

    retry_after_seconds is when to come back, where that is known. settings_seconds is set where the settings of the key
    or its tenant decided alone, without the ledger, which would know of a change: how old what is known of them may be.
    in_doubt is set where a reservation may have been committed all the same.
    """

    status = 500
    code = "internal_error"
    settings_seconds: float | None = None
    in_doubt = False

    def __init__(self, message: str, *, field: str | None = None, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.retry_after_seconds = retry_after_seconds


class InvalidRequestError(GatewayError):
    status, code = 400, "invalid_request"


class ContextExceededError(InvalidRequestError):
    """The prompt does not fit the context of the model; OpenAI's own code, by which programs know to shorten it."""

    code = "context_length_exceeded"


class RequestBeyondLimitError(InvalidRequestError):
    """The request may need more tokens than the whole of a limit, so that no waiting would help."""

    code = "request_beyond_limit"
    settings_seconds = 0.0


class RequestBeyondPolicyError(InvalidRequestError):
    """The request brings more at once than its key may: of images, of texts to embed."""

    settings_seconds = 0.0


class MalformedRequestError(InvalidRequestError):
    """What came is no request of HTTP/1.1, or one that may be read in two ways; its status says which of those."""

    code = "malformed_request"

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class RequestTooLargeError(InvalidRequestError):
    status, code = 413, "request_too_large"


class UnsupportedMediaTypeError(InvalidRequestError):
    status, code = 415, "unsupported_media_type"


class RequestTimeoutError(InvalidRequestError):
    status, code = 408, "request_timeout"


class UnauthenticatedError(GatewayError):
    """Missing, malformed, unknown, wrong, revoked, expired: one answer for all, so that none tells another."""

    status, code = 401, "invalid_api_key"

    def __init__(self) -> None:
        super().__init__("Invalid API key. Send a valid key as 'Authorization: Bearer nz_...'.")


class ForbiddenError(GatewayError):
    status, code = 403, "forbidden"


class TenantSuspendedError(ForbiddenError):
    code = "tenant_suspended"


class ModelForbiddenError(ForbiddenError):
    code = "model_not_allowed"
    settings_seconds = 0.0


class LoadingForbiddenError(ForbiddenError):
    code = "loading_not_allowed"
    settings_seconds = 0.0


class AddressForbiddenError(ForbiddenError):
    """The key is good, but may be used from some networks alone."""

    code = "address_not_allowed"
    settings_seconds = 1.0

    def __init__(self, address: str) -> None:
        super().__init__(f"This key may not be used from {address}. Its operator says from which networks it may.")


class EndpointBlockedError(ForbiddenError):
    code = "endpoint_blocked"


class NotFoundError(GatewayError):
    status, code = 404, "not_found"


class EndpointNotFoundError(NotFoundError):
    code = "unknown_endpoint"


class ModelNotFoundError(NotFoundError):
    """The model server has no such model; `model` is its canonical name."""

    code = "model_not_found"

    def __init__(self, model: str) -> None:
        super().__init__(f"The model server has no model '{model}'.", field="model")


class ConflictError(GatewayError):
    status, code = 409, "conflict"


class RateLimitedError(GatewayError):
    """A limit fired; `limit` names it as scope and axis, for example key.rpm."""

    status, code = 429, "rate_limit_exceeded"

    def __init__(self, message: str, *, limit: str, retry_after_seconds: float) -> None:
        super().__init__(message, retry_after_seconds=retry_after_seconds)
        self.limit = limit


class BudgetExceededError(GatewayError):
    """A budget cannot hold the request; `limit` names it as scope and period, for example tenant.daily."""

    status, code = 429, "insufficient_quota"

    def __init__(self, message: str, *, limit: str, retry_after_seconds: float | None) -> None:
        super().__init__(message, retry_after_seconds=retry_after_seconds)
        self.limit = limit


class UnavailableError(GatewayError):
    """Something that every request needs is away or did not answer in time; nothing was forwarded."""

    status, code = 503, "unavailable"


class OverloadedError(UnavailableError):
    code = "overloaded"


class StalePrincipalError(UnavailableError):
    """The tenant or the key has changed since it was read: the chain runs once more from authentication."""

    code = "settings_changed"


class ShuttingDownError(UnavailableError):
    """The process ended before the request was done; another one, or its successor, serves the next."""

    code = "shutting_down"


class UpstreamUnreachableError(UnavailableError):
    code = "model_server_unavailable"


class UpstreamBrokenError(GatewayError):
    status, code = 502, "model_server_error"


class UpstreamTooOldError(UpstreamBrokenError):
    """The model server does not know the endpoint, so that it would answer no second attempt either."""

    status, code = 501, "model_server_too_old"


class AnswerUnreadableError(UpstreamBrokenError):
    """The model server could not read what its model had generated, so that tokens were spent all the same."""

    code = "answer_unreadable"


class AnswerCutError(GatewayError):
    """The gateway itself ended an answer: over its reservation, its place or its reservation lost, its key revoked."""

    status, code = 502, "answer_cut"


class UpstreamTimedOutError(GatewayError):
    status, code = 504, "model_server_timeout"
