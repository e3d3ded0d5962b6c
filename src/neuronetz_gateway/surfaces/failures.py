"""The one table of what every failure is called on every surface."""

from dataclasses import dataclass

from neuronetz_gateway import errors
from neuronetz_gateway.errors import GatewayError


@dataclass(frozen=True, slots=True)
class Failure:
    """One row: an error of the gateway, when it happens (one sentence for docs/ERRORS.md), its type a surface.

    The status and the code are the error's own; Ollama's protocol has no types (OLLAMA §3.4, §6). The types are those
    that the users of each SDK know.
    """

    error: type[GatewayError]
    when: str
    openai_type: str
    anthropic_type: str


_INVALID = "invalid_request_error"

FAILURES: tuple[Failure, ...] = (
    Failure(
        errors.InvalidRequestError,
        "The request itself is wrong; the message names the field and the mend.",
        _INVALID,
        _INVALID,
    ),
    Failure(
        errors.UnauthenticatedError, "No valid key; one answer for every reason.", _INVALID, "authentication_error"
    ),
    Failure(errors.TenantSuspendedError, "The tenant is suspended.", "permission_error", "permission_error"),
    Failure(errors.ModelForbiddenError, "The key may not use the model.", "permission_error", "permission_error"),
    Failure(
        errors.LoadingForbiddenError,
        "An empty prompt would load or unload the model, which the key may not.",
        "permission_error",
        "permission_error",
    ),
    Failure(
        errors.EndpointBlockedError,
        "The endpoint changes or shows what is the operator's: closed for everybody.",
        "permission_error",
        "permission_error",
    ),
    Failure(errors.EndpointNotFoundError, "There is no such endpoint.", "not_found_error", "not_found_error"),
    Failure(errors.NotFoundError, "The model server has no such model.", "not_found_error", "not_found_error"),
    Failure(errors.RequestTimeoutError, "The request body came too slowly.", _INVALID, _INVALID),
    Failure(errors.RequestTooLargeError, "The request body is too large.", _INVALID, "request_too_large"),
    Failure(errors.UnsupportedMediaTypeError, "The request body is compressed.", _INVALID, _INVALID),
    Failure(
        errors.RateLimitedError,
        "A limit of the key or its tenant is reached.",
        "rate_limit_error",
        "rate_limit_error",
    ),
    Failure(
        errors.BudgetExceededError,
        "A token budget cannot hold the request.",
        "insufficient_quota",
        "rate_limit_error",
    ),
    Failure(GatewayError, "The gateway itself failed.", "api_error", "api_error"),
    Failure(errors.UpstreamBrokenError, "The model server failed or broke off.", "api_error", "api_error"),
    Failure(errors.UnavailableError, "A store of the gateway is away.", "api_error", "api_error"),
    Failure(errors.OverloadedError, "Gateway or model server is busy.", "api_error", "overloaded_error"),
    Failure(
        errors.StalePrincipalError,
        "The settings of the key changed while the request was let in.",
        "api_error",
        "api_error",
    ),
    Failure(errors.UpstreamUnreachableError, "The model server cannot be reached.", "api_error", "api_error"),
    Failure(errors.UpstreamTimedOutError, "The model server was too slow.", "api_error", "timeout_error"),
)

_BY_ERROR = {failure.error: failure for failure in FAILURES}


def failure_of(error: GatewayError) -> Failure:
    """The row of an error: its own, else that of the nearest ancestor."""
    return next(_BY_ERROR[kind] for kind in type(error).__mro__ if kind in _BY_ERROR)
