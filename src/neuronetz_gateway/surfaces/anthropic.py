"""The Anthropic-compatible protocol: one JSON body, or named server-sent events on request."""

import orjson

from neuronetz_gateway.errors import GatewayError, InvalidRequestError
from neuronetz_gateway.surfaces import anthropic_policy
from neuronetz_gateway.surfaces.anthropic_metering import MessagesMeter
from neuronetz_gateway.surfaces.anthropic_prompt import check_says_something, of_messages_in_blocks
from neuronetz_gateway.surfaces.body_metering import BodyMeter, UsageKeys
from neuronetz_gateway.surfaces.credentials import bearer_or_api_key
from neuronetz_gateway.surfaces.error_headers import retry_headers
from neuronetz_gateway.surfaces.failures import failure_of
from neuronetz_gateway.surfaces.limit_headers import anthropic_names
from neuronetz_gateway.surfaces.reading import Reader, check_granted
from neuronetz_gateway.surfaces.surface import Call, Endpoint, Inference, JsonObject, Meter, RequestRules, Surface

_USAGE = UsageKeys("input_tokens", "output_tokens", inside="usage")


def error_body(error: GatewayError, request_id: str) -> bytes:
    """The protocol has no code of its own beside the type; its SDKs read one from the details."""
    told = {
        "type": failure_of(error).anthropic_type,
        "message": error.message,
        "details": {"error_code": error.code},
    }
    return orjson.dumps({"type": "error", "error": told, "request_id": request_id})


def error_event(error: GatewayError, request_id: str) -> bytes:
    return b"event: error\ndata: " + error_body(error, request_id) + b"\n\n"


def output_asked(body: JsonObject) -> int:
    """max_tokens, which this protocol makes the caller state.

    Raises InvalidRequestError: it is missing.
    """
    asked = body.get("max_tokens")
    if type(asked) is not int:
        raise InvalidRequestError(
            "'max_tokens' is missing: say how many tokens the answer may have at most.", field="max_tokens"
        )
    return asked


_read = Reader(
    anthropic_policy.MESSAGES,
    subject="messages",
    prompt_bound=of_messages_in_blocks,
    output_asked=output_asked,
    streams_by_default=False,
)


def read_messages(body: JsonObject, rules: RequestRules) -> Call:
    """The call that a body is.

    Raises InvalidRequestError: a field is missing or is not what it must be; it names the field and the mend.
    """
    call = _read(body, rules)
    check_says_something(call.body)
    return call


def write_messages(call: Call, granted: int) -> bytes:
    check_granted(granted)
    return orjson.dumps({**call.body, "max_tokens": granted})


def messages_meter(call: Call) -> Meter:
    return MessagesMeter() if call.streamed else BodyMeter(_USAGE)


ANTHROPIC = Surface(
    name="anthropic",
    prefix="/v1/messages",
    credential=bearer_or_api_key,
    error_body=error_body,
    error_headers=retry_headers,
    error_event=error_event,
    record_end=b"\n\n",
    request_id_headers=(b"x-request-id", b"request-id"),
    limit_headers=anthropic_names,
)

MESSAGES = Endpoint(
    "POST",
    "/v1/messages",
    ANTHROPIC,
    Inference(read=read_messages, write=write_messages, new_meter=messages_meter, cap_fields=("max_tokens",)),
)
