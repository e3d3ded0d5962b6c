"""OpenAI's Responses: items in, one object or named events out."""

from dataclasses import replace
from typing import Any

import orjson

from neuronetz_gateway.domain.model_facts import ModelFacts
from neuronetz_gateway.errors import GatewayError
from neuronetz_gateway.surfaces import responses_policy
from neuronetz_gateway.surfaces.body_metering import BodyMeter, UsageKeys
from neuronetz_gateway.surfaces.openai import OPENAI, error_body, is_constrained
from neuronetz_gateway.surfaces.prompt_bound import of_images, of_names, of_texts, of_tools, within
from neuronetz_gateway.surfaces.reading import Reader, check_granted
from neuronetz_gateway.surfaces.responses_metering import ResponsesMeter
from neuronetz_gateway.surfaces.surface import Call, Endpoint, Inference, JsonObject, Meter, RequestRules

_USAGE = UsageKeys("input_tokens", "output_tokens", inside="usage")
_MESSAGES_BESIDE_THE_ITEMS = 2  # the instructions, reasoning that no message follows


def error_event(error: GatewayError, request_id: str) -> bytes:
    """An event of the type `error`: OpenAI's SDKs raise on the `error` in it, readers by type want the rest beside it.

    Its number in the sequence, which strict readers want as well, is not known here: always 0.
    """
    told = orjson.loads(error_body(error, request_id))["error"]
    beside = {"type": "error", "sequence_number": 0} | {name: told[name] for name in ("code", "message", "param")}
    return b"event: error\ndata: " + orjson.dumps(beside | {"error": told}) + b"\n\n"


def prompt_bound(body: JsonObject, rules: RequestRules, facts: ModelFacts) -> int:
    """The bound of an input, of which each item is at most one message, each of its parts at most one more."""
    items = body["input"] if type(body["input"]) is list else []
    parts = [part for item in items for name in ("content", "output") for part in _parts(item.get(name))]
    images = [part["image_url"] for part in parts if part.get("type") == "input_image" and "image_url" in part]
    calls = [item["arguments"] for item in items if "arguments" in item]
    messages = _MESSAGES_BESIDE_THE_ITEMS + max(1, len(items)) + len(parts)
    names = of_names((item["name"] for item in items if "name" in item), sum("output" in item for item in items))
    texts = of_texts(body, messages, facts) + names
    return within(facts, texts + of_images(images, rules) + of_tools([body.get("tools"), *calls]))


def _parts(content: Any) -> list[dict[str, Any]]:
    return content if type(content) is list else []


def output_asked(body: JsonObject) -> int | None:
    asked: int | None = body.get("max_output_tokens")
    return asked


def write(call: Call, granted: int) -> bytes:
    check_granted(granted)
    return orjson.dumps({**call.body, "max_output_tokens": granted})


def new_meter(call: Call) -> Meter:
    if call.streamed:
        return ResponsesMeter()
    return BodyMeter(_USAGE, runs_twice=is_constrained(call.body.get("text", {}).get("format")))


RESPONSES = Endpoint(
    "POST",
    "/v1/responses",
    replace(OPENAI, error_event=error_event),
    Inference(
        read=Reader(
            responses_policy.RESPONSES,
            subject="input",
            prompt_bound=prompt_bound,
            output_asked=output_asked,
            streams_by_default=False,
        ),
        write=write,
        new_meter=new_meter,
        cap_fields=("max_output_tokens",),
    ),
)
