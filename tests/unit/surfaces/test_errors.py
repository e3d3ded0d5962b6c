"""Every refusal in the shape, with the headers, that each protocol's SDKs understand."""

import orjson
import pytest

from neuronetz_gateway import errors
from neuronetz_gateway.errors import GatewayError
from neuronetz_gateway.surfaces.catalog import ENDPOINTS
from neuronetz_gateway.surfaces.error_headers import LONGEST_SLEEP_SECONDS
from neuronetz_gateway.surfaces.failures import FAILURES
from neuronetz_gateway.surfaces.ollama import OLLAMA
from neuronetz_gateway.surfaces.openai import OPENAI
from neuronetz_gateway.surfaces.surface import Surface

SURFACES = tuple(dict.fromkeys(endpoint.surface for endpoint in ENDPOINTS))
RATE = errors.RateLimitedError("Too many.", limit="key.rpm", retry_after_seconds=1.2345)
BUDGET = errors.BudgetExceededError("Spent.", limit="key.daily", retry_after_seconds=86_399.5)


def limited(seconds: float) -> GatewayError:
    return errors.RateLimitedError("m", limit="key.rpm", retry_after_seconds=seconds)


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (errors.InvalidRequestError("m", field="stream"), "invalid_request_error", "invalid_request"),
        (errors.ContextExceededError("m"), "invalid_request_error", "context_length_exceeded"),
        (errors.RequestTooLargeError("m"), "invalid_request_error", "request_too_large"),
        (errors.UnsupportedMediaTypeError("m"), "invalid_request_error", "unsupported_media_type"),
        (errors.UnauthenticatedError(), "invalid_request_error", "invalid_api_key"),
        (errors.ModelForbiddenError("m"), "permission_error", "model_not_allowed"),
        (errors.EndpointNotFoundError("m"), "not_found_error", "unknown_endpoint"),
        (errors.ModelNotFoundError("nope:latest"), "not_found_error", "model_not_found"),
        (RATE, "rate_limit_error", "rate_limit_exceeded"),
        (BUDGET, "insufficient_quota", "insufficient_quota"),
        (errors.UnavailableError("m"), "api_error", "unavailable"),
        (errors.UpstreamBrokenError("m"), "api_error", "model_server_error"),
        (errors.AnswerCutError("m"), "api_error", "answer_cut"),
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


@pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.prefix)
def test_an_error_event_is_one_record(surface: Surface) -> None:
    event = surface.error_event(errors.UpstreamBrokenError("a\n\nb"), "req_1")
    assert event.count(surface.record_end) == 1
    assert event.endswith(surface.record_end)


@pytest.mark.promise("L6")
@pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.prefix)
@pytest.mark.parametrize(
    ("error", "headers"),
    [
        (RATE, {b"retry-after": b"2", b"retry-after-ms": b"1235"}),
        (limited(61.0), {b"retry-after": b"61", b"retry-after-ms": b"61000"}),
        (limited(0.0), {b"retry-after": b"1", b"retry-after-ms": b"1"}),
        (limited(121.0), {b"retry-after": b"121", b"x-should-retry": b"false"}),
        (errors.OverloadedError("m", retry_after_seconds=0.1), {b"retry-after": b"1", b"retry-after-ms": b"100"}),
        (errors.OverloadedError("m", retry_after_seconds=1.1), {b"retry-after": b"2", b"retry-after-ms": b"1100"}),
        (BUDGET, {b"retry-after": b"86400", b"x-should-retry": b"false"}),
        (
            errors.BudgetExceededError("m", limit="key.total", retry_after_seconds=None),
            {b"x-should-retry": b"false"},
        ),
        (errors.UnauthenticatedError(), {b"www-authenticate": b"Bearer"}),
        (errors.InvalidRequestError("m"), {}),
        (errors.ModelForbiddenError("m"), {}),
        (errors.RequestTimeoutError("m"), {}),
        (errors.UpstreamBrokenError("m"), {}),
        (errors.UpstreamTimedOutError("m"), {b"x-should-retry": b"false"}),
        (GatewayError("m"), {b"x-should-retry": b"false"}),
    ],
)
def test_the_headers_say_when_to_come_back(surface: Surface, error: GatewayError, headers: dict[bytes, bytes]) -> None:
    got = surface.error_headers(error, "req_1")
    assert dict(got) == headers
    assert len(got) == len(headers)


@pytest.mark.promise("L6")
@pytest.mark.parametrize("row", [row for row in FAILURES if row.hint_seconds], ids=lambda row: row.error.__name__)
def test_a_hint_is_another_for_each_request(row: object) -> None:
    """Whoever a restart has turned away would come back at the same moment."""
    [failure] = [each for each in FAILURES if each is row]
    assert failure.hint_seconds is not None
    told = [dict(OLLAMA.error_headers(failure.error("m"), f"request-{number}")) for number in range(500)]
    waits = [int(headers[b"retry-after-ms"]) / 1000 for headers in told]
    assert all(failure.hint_seconds * 0.5 <= wait <= failure.hint_seconds * 1.5 for wait in waits)
    assert len(set(waits)) > 300
    assert all(wait <= int(headers[b"retry-after"]) for wait, headers in zip(waits, told, strict=True))


@pytest.mark.parametrize("seconds", [0.0, 0.0004, 0.9999, 1.0, 59.0001, 61.0, LONGEST_SLEEP_SECONDS, 1e5, 2_678_400.0])
@pytest.mark.parametrize("error", [limited, lambda seconds: errors.OverloadedError("m", retry_after_seconds=seconds)])
def test_no_sdk_is_told_to_sleep_for_long(error: type, seconds: float) -> None:
    """anthropic-python sleeps for as long as it is told, openai-js overflows into an immediate retry (OLLAMA §6.1)."""
    headers = dict(OPENAI.error_headers(error(seconds), "req_1"))
    if b"retry-after-ms" in headers:
        assert 1 <= int(headers[b"retry-after-ms"]) <= LONGEST_SLEEP_SECONDS * 1000
    else:
        assert headers[b"x-should-retry"] == b"false"
    assert 1 <= int(headers[b"retry-after"]) <= seconds + 1
