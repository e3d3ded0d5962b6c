"""Every refusal in the shape, with the headers, that each protocol's SDKs understand."""

import orjson
import pytest

from neuronetz_gateway import errors
from neuronetz_gateway.errors import GatewayError
from neuronetz_gateway.surfaces.ollama import OLLAMA
from neuronetz_gateway.surfaces.openai import OPENAI

RATE = errors.RateLimitedError("Too many.", limit="key.rpm", retry_after_seconds=1.2345)
BUDGET = errors.BudgetExceededError("Spent.", limit="key.daily", retry_after_seconds=86_399.5)


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (errors.InvalidRequestError("m", field="stream"), "invalid_request_error", "invalid_request"),
        (errors.RequestTooLargeError("m"), "invalid_request_error", "request_too_large"),
        (errors.UnsupportedMediaTypeError("m"), "invalid_request_error", "unsupported_media_type"),
        (errors.UnauthenticatedError(), "invalid_request_error", "invalid_api_key"),
        (errors.ModelForbiddenError("m"), "permission_error", "model_not_allowed"),
        (errors.EndpointNotFoundError("m"), "not_found_error", "unknown_endpoint"),
        (RATE, "rate_limit_error", "rate_limit_exceeded"),
        (BUDGET, "insufficient_quota", "insufficient_quota"),
        (errors.UnavailableError("m"), "api_error", "unavailable"),
        (errors.UpstreamBrokenError("m"), "api_error", "model_server_error"),
        (errors.UpstreamTimedOutError("m"), "api_error", "model_server_timeout"),
        (GatewayError("m"), "api_error", "internal_error"),
    ],
)
def test_an_openai_error_is_an_object_of_a_known_type(error: GatewayError, kind: str, code: str) -> None:
    expected = {"error": {"message": error.message, "type": kind, "param": error.field, "code": code}}
    assert orjson.loads(OPENAI.error_body(error, "req_1")) == expected
    event = OPENAI.error_event(error, "req_1")
    assert event.startswith(b"data: ")
    assert event.endswith(b"}\n\n")
    assert orjson.loads(event.removeprefix(b"data: ")) == expected


def test_a_native_error_is_a_string_on_one_line() -> None:
    error = errors.InvalidRequestError('line\nbreak "quoted"')
    assert orjson.loads(OLLAMA.error_body(error, "req_1")) == {"error": error.message}
    event = OLLAMA.error_event(error, "req_1")
    assert event.count(b"\n") == 1
    assert event.endswith(b"}\n")


@pytest.mark.promise("L6")
@pytest.mark.parametrize("surface", [OLLAMA, OPENAI])
@pytest.mark.parametrize(
    ("error", "headers"),
    [
        (RATE, {b"retry-after": b"2", b"retry-after-ms": b"1235"}),
        (errors.UnavailableError("m"), {b"retry-after": b"1", b"retry-after-ms": b"1000"}),
        (errors.OverloadedError("m", retry_after_seconds=0.1), {b"retry-after": b"1", b"retry-after-ms": b"100"}),
        (errors.OverloadedError("m", retry_after_seconds=1.1), {b"retry-after": b"2", b"retry-after-ms": b"1100"}),
        (errors.OverloadedError("m", retry_after_seconds=0.0), {b"retry-after": b"1", b"retry-after-ms": b"0"}),
        (BUDGET, {b"retry-after": b"86400", b"x-should-retry": b"false"}),
        (
            errors.BudgetExceededError("m", limit="key.total", retry_after_seconds=None),
            {b"x-should-retry": b"false"},
        ),
        (errors.UnauthenticatedError(), {b"www-authenticate": b"Bearer"}),
        (errors.InvalidRequestError("m"), {}),
        (errors.ModelForbiddenError("m"), {}),
    ],
)
def test_the_headers_say_when_to_come_back(surface: object, error: GatewayError, headers: dict[bytes, bytes]) -> None:
    assert surface in {OLLAMA, OPENAI}
    got = (OLLAMA if surface is OLLAMA else OPENAI).error_headers(error)
    assert dict(got) == headers
    assert len(got) == len(headers)
