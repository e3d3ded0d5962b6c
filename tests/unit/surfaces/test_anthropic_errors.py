"""Every refusal in the envelope that Anthropic's SDKs read."""

import orjson
import pytest

from neuronetz_gateway import errors
from neuronetz_gateway.errors import GatewayError
from neuronetz_gateway.surfaces.anthropic import ANTHROPIC


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (errors.InvalidRequestError("m", field="stream"), "invalid_request_error"),
        (errors.RequestTooLargeError("m"), "request_too_large"),
        (errors.UnauthenticatedError(), "authentication_error"),
        (errors.ModelForbiddenError("m"), "permission_error"),
        (errors.EndpointNotFoundError("m"), "not_found_error"),
        (errors.RateLimitedError("m", limit="key.rpm", retry_after_seconds=1), "rate_limit_error"),
        (errors.BudgetExceededError("m", limit="key.daily", retry_after_seconds=1), "rate_limit_error"),
        (errors.OverloadedError("m"), "overloaded_error"),
        (errors.UnavailableError("m"), "api_error"),
        (errors.UpstreamBrokenError("m"), "api_error"),
        (GatewayError('line\nbreak "quoted"'), "api_error"),
    ],
)
def test_an_error_is_an_envelope_of_a_known_type(error: GatewayError, kind: str) -> None:
    body = orjson.loads(ANTHROPIC.error_body(error, "req_1"))
    assert (body["type"], body["request_id"]) == ("error", "req_1")
    assert (body["error"]["type"], body["error"]["message"]) == (kind, error.message)
    name, data, *rest = ANTHROPIC.error_event(error, "req_1").split(b"\n")
    assert name == b"event: error"
    assert orjson.loads(data.removeprefix(b"data: ")) == body
    assert rest == [b"", b""]
