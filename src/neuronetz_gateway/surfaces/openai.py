"""The OpenAI-compatible protocol: one JSON body, or server-sent events on request."""

from typing import Any, Final

import orjson

from neuronetz_gateway.domain.limit import smaller
from neuronetz_gateway.errors import GatewayError
from neuronetz_gateway.surfaces import listings, policy, prompt_bound
from neuronetz_gateway.surfaces.body_metering import BodyMeter, UsageKeys
from neuronetz_gateway.surfaces.credentials import bearer
from neuronetz_gateway.surfaces.editing import UsageRemover
from neuronetz_gateway.surfaces.error_headers import retry_headers
from neuronetz_gateway.surfaces.failures import failure_of
from neuronetz_gateway.surfaces.metering import SseMeter
from neuronetz_gateway.surfaces.reading import Reader, check_granted
from neuronetz_gateway.surfaces.surface import (
    Call,
    Endpoint,
    Inference,
    JsonObject,
    Meter,
    StreamEditor,
    Surface,
)

GENERATION_USAGE: Final = UsageKeys("prompt_tokens", "completion_tokens", inside="usage")
_EMBEDDING_USAGE = UsageKeys("prompt_tokens", None, inside="usage")
_DELTA_CONTENT = ("content", "reasoning", "reasoning_content", "tool_calls")


def error_body(error: GatewayError, _: str) -> bytes:
    kind = failure_of(error).openai_type
    return orjson.dumps({"error": {"message": error.message, "type": kind, "param": error.field, "code": error.code}})


def error_event(error: GatewayError, request_id: str) -> bytes:
    return b"data: " + error_body(error, request_id) + b"\n\n"


def output_asked(body: JsonObject) -> int | None:
    """The smaller of the two fields that cap the output; Ollama obeys max_tokens alone (OLLAMA §4.5)."""
    return smaller(body.get("max_completion_tokens"), body.get("max_tokens"))


def usage_wanted(body: JsonObject) -> bool:
    return body.get("stream_options", {}).get("include_usage") is True


def capped(call: Call, granted: int) -> JsonObject:
    """The body with its cap where Ollama obeys it, the usage asked for where it would not come of itself."""
    check_granted(granted)
    body = {**call.body, "max_tokens": granted}
    if call.streamed:
        body["stream_options"] = {**body.get("stream_options", {}), "include_usage": True}
    return body


def write_generation(call: Call, granted: int) -> bytes:
    body = capped(call, granted)
    body.pop("max_completion_tokens", None)
    return orjson.dumps(body)


def write_embedding(call: Call, _: int) -> bytes:
    return orjson.dumps(call.body)


def chat_has_content(choice: dict[str, Any]) -> bool:
    delta = choice.get("delta")
    return type(delta) is dict and any(delta.get(name) for name in _DELTA_CONTENT)


def is_constrained(text_format: Any) -> bool:
    """Whether an answer must be of a format, for which a thinking model is run twice (OLLAMA §3.3)."""
    return text_format not in (None, {"type": "text"})


def chat_meter(call: Call) -> Meter:
    if call.streamed:
        return SseMeter(chat_has_content)
    return BodyMeter(GENERATION_USAGE, runs_twice=is_constrained(call.body.get("response_format")))


def embedding_meter(_: Call) -> Meter:
    return BodyMeter(_EMBEDDING_USAGE)


def usage_remover(call: Call) -> StreamEditor | None:
    return UsageRemover() if call.streamed and not call.usage_wanted else None


OPENAI = Surface(
    name="openai",
    prefix="/v1/",
    credential=bearer,
    error_body=error_body,
    error_headers=retry_headers,
    error_event=error_event,
    record_end=b"\n\n",
)

CHAT_COMPLETIONS = Endpoint(
    "POST",
    "/v1/chat/completions",
    OPENAI,
    Inference(
        read=Reader(
            policy.OPENAI_CHAT,
            subject="messages",
            prompt_bound=prompt_bound.of_messages_in_parts,
            output_asked=output_asked,
            streams_by_default=False,
            in_parts=True,
            usage_wanted=usage_wanted,
        ),
        write=write_generation,
        new_meter=chat_meter,
        new_editor=usage_remover,
        cap_fields=("max_completion_tokens", "max_tokens"),
    ),
)

EMBEDDINGS = Endpoint(
    "POST",
    "/v1/embeddings",
    OPENAI,
    Inference(
        read=Reader(policy.OPENAI_EMBEDDINGS, subject="input", prompt_bound=prompt_bound.of_inputs, batched=True),
        write=write_embedding,
        new_meter=embedding_meter,
        has_output=False,
    ),
)

MODELS = Endpoint("GET", "/v1/models", OPENAI, shown=listings.models)

MODEL = Endpoint("GET", "/v1/models/{model}", OPENAI, shown=listings.model, upstream_path="/v1/models")
