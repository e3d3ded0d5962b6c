"""Ollama's own protocol: NDJSON, streaming unless told otherwise."""

import orjson

from neuronetz_gateway.errors import GatewayError
from neuronetz_gateway.surfaces import listings, policy, prompt_bound, showing
from neuronetz_gateway.surfaces.body_metering import BodyMeter, UsageKeys
from neuronetz_gateway.surfaces.credentials import bearer
from neuronetz_gateway.surfaces.error_headers import retry_headers
from neuronetz_gateway.surfaces.metering import NdjsonMeter
from neuronetz_gateway.surfaces.reading import Reader, check_granted
from neuronetz_gateway.surfaces.surface import Call, Endpoint, Inference, JsonObject, Meter, Surface

_GENERATION_USAGE = UsageKeys("prompt_eval_count", "eval_count", done=True)
_EMBEDDING_USAGE = UsageKeys("prompt_eval_count", None)


def error_body(error: GatewayError, _: str) -> bytes:
    """The error must be a string: the ollama libraries print an object as it stands (OLLAMA §6)."""
    return orjson.dumps({"error": error.message})


def error_event(error: GatewayError, request_id: str) -> bytes:
    return error_body(error, request_id) + b"\n"


def output_asked(body: JsonObject) -> int | None:
    """options.num_predict; 0 or less is Ollama's way to say no cap (OLLAMA §4.5)."""
    asked = body.get("options", {}).get("num_predict")
    return asked if asked is not None and asked > 0 else None


def write_generation(call: Call, granted: int) -> bytes:
    if call.loads:  # nothing is generated that a cap could bind
        return orjson.dumps(call.body)
    check_granted(granted)
    options = {**call.body.get("options", {}), "num_predict": granted}
    return orjson.dumps({**call.body, "options": options})


def write_embedding(call: Call, _: int) -> bytes:
    return orjson.dumps(call.body)


def generation_meter(call: Call) -> Meter:
    if call.streamed:
        return NdjsonMeter()
    return BodyMeter(_GENERATION_USAGE, runs_twice=call.body.get("format") is not None)


def embedding_meter(_: Call) -> Meter:
    return BodyMeter(_EMBEDDING_USAGE)


OLLAMA = Surface(
    name="ollama",
    prefix="/api/",
    credential=bearer,
    error_body=error_body,
    error_headers=retry_headers,
    error_event=error_event,
)

CHAT = Endpoint(
    "POST",
    "/api/chat",
    OLLAMA,
    Inference(
        read=Reader(
            policy.NATIVE_CHAT,
            subject="messages",
            loadable=True,
            prompt_bound=prompt_bound.of_messages,
            output_asked=output_asked,
            streams_by_default=True,
        ),
        write=write_generation,
        new_meter=generation_meter,
        cap_fields=("options.num_predict",),
    ),
)

GENERATE = Endpoint(
    "POST",
    "/api/generate",
    OLLAMA,
    Inference(
        read=Reader(
            policy.NATIVE_GENERATE,
            subject="prompt",
            loadable=True,
            prompt_bound=prompt_bound.of_prompt,
            output_asked=output_asked,
            streams_by_default=True,
        ),
        write=write_generation,
        new_meter=generation_meter,
        cap_fields=("options.num_predict",),
    ),
)

EMBED = Endpoint(
    "POST",
    "/api/embed",
    OLLAMA,
    Inference(
        read=Reader(policy.NATIVE_EMBED, subject="input", prompt_bound=prompt_bound.of_inputs, batched=True),
        write=write_embedding,
        new_meter=embedding_meter,
        has_output=False,
    ),
)

EMBEDDINGS = Endpoint(  # the older one: a single text, no usage in the answer (OLLAMA §3.2), so charged its bound
    "POST",
    "/api/embeddings",
    OLLAMA,
    Inference(
        read=Reader(policy.NATIVE_EMBEDDINGS, subject="prompt", prompt_bound=prompt_bound.of_embedded_prompt),
        write=write_embedding,
        new_meter=embedding_meter,
        has_output=False,
    ),
)

SHOW = Endpoint("POST", "/api/show", OLLAMA, asks=showing.ask, shown=showing.show)

TAGS = Endpoint("GET", "/api/tags", OLLAMA, shown=listings.tags)

TAGS_HEAD = Endpoint("HEAD", "/api/tags", OLLAMA, shown=listings.tags, upstream_method="GET")

PS = Endpoint("GET", "/api/ps", OLLAMA, shown=listings.tags)

VERSION = Endpoint("GET", "/api/version", OLLAMA)

VERSION_HEAD = Endpoint("HEAD", "/api/version", OLLAMA, upstream_method="GET")
