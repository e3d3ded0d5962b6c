"""OpenAI's older endpoint for plain text: a prompt in, its continuation out."""

from typing import Any

import orjson

from neuronetz_gateway.domain.model_facts import ModelFacts
from neuronetz_gateway.surfaces import policy
from neuronetz_gateway.surfaces.body_metering import BodyMeter
from neuronetz_gateway.surfaces.editing import UsageRemover
from neuronetz_gateway.surfaces.metering import SseMeter
from neuronetz_gateway.surfaces.openai import GENERATION_USAGE, OPENAI, capped, usage_wanted
from neuronetz_gateway.surfaces.prompt_bound import of_texts, within
from neuronetz_gateway.surfaces.reading import Reader
from neuronetz_gateway.surfaces.surface import (
    Call,
    Endpoint,
    Inference,
    JsonObject,
    Meter,
    RequestRules,
    StreamEditor,
)


def prompt_bound(body: JsonObject, _: RequestRules, facts: ModelFacts) -> int:
    return within(facts, of_texts(body, 1, facts))


def output_asked(body: JsonObject) -> int | None:
    asked: int | None = body.get("max_tokens")
    return asked


def write(call: Call, granted: int) -> bytes:
    return orjson.dumps(capped(call, granted))


def has_content(choice: dict[str, Any]) -> bool:
    """Whether a record stands for output: the thoughts of a model leave records without text, the end has a reason."""
    return bool(choice.get("text")) or choice.get("finish_reason") is None


def new_meter(call: Call) -> Meter:
    return SseMeter(has_content) if call.streamed else BodyMeter(GENERATION_USAGE)


def new_editor(call: Call) -> StreamEditor | None:
    """Ollama puts a zero usage on every record as soon as usage is asked for (OLLAMA §3.2)."""
    return UsageRemover(in_every_record=True) if call.streamed and not call.usage_wanted else None


COMPLETIONS = Endpoint(
    "POST",
    "/v1/completions",
    OPENAI,
    Inference(
        read=Reader(
            policy.OPENAI_COMPLETIONS,
            subject="prompt",
            prompt_bound=prompt_bound,
            output_asked=output_asked,
            streams_by_default=False,
            usage_wanted=usage_wanted,
        ),
        write=write,
        new_meter=new_meter,
        new_editor=new_editor,
        cap_fields=("max_tokens",),
    ),
)
