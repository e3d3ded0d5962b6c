"""What a caller may see of a model: an answer of /api/show, rebuilt from what is known to be harmless."""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from neuronetz_gateway.errors import InvalidRequestError, ModelNotFoundError, UpstreamBrokenError
from neuronetz_gateway.surfaces.fields import Fields, anything, flag, text
from neuronetz_gateway.surfaces.framing import json_object
from neuronetz_gateway.surfaces.host_paths import is_host_path, without_host_paths
from neuronetz_gateway.surfaces.reading import named_model
from neuronetz_gateway.surfaces.screening import Screening
from neuronetz_gateway.surfaces.surface import Allows, Call, JsonObject, RequestRules

type Cleaned = Callable[[Any], Any]
"""What may be shown of a value, None for nothing."""

# They would change the answer (server/routes.go, GetModelInfo), which is to show the model as it is installed.
_NOT_SENT = ("system", "template", "options", "runner")
_ASKED = Fields({"model": text, "name": text, "verbose": flag, **dict.fromkeys(_NOT_SENT, anything)})
_SCALARS = (str, int, float, bool)


def ask(body: JsonObject, _: RequestRules) -> Call:
    """The question after one model; `name` is the older word for `model`, an empty one counts as none.

    Raises InvalidRequestError: the model is missing, malformed or named twice in two ways.
    """
    asked = _ASKED.admit(body, Screening())
    names = {field: named_model(asked, field) for field in ("model", "name") if asked.get(field)}
    model = names.get("model") or names.get("name") or named_model(asked, "model")
    if names.get("name", model) != model:
        raise InvalidRequestError("'model' and 'name' name two models; send 'model' alone.", field="name")
    return Call(
        model=model,
        streamed=False,
        prompt_bound_tokens=0,
        output_asked_tokens=0,
        body={"model": model, "verbose": asked.get("verbose", False)},
        adjusted=tuple(name for name in _NOT_SENT if asked.get(name)),
    )


def show(body: bytes, call: Call, _: Allows) -> bytes:
    """The answer, less the system prompt, the messages and all that tells of the host; what is unknown is left out.

    Raises ModelNotFoundError: the model is run elsewhere (OLLAMA §4.1). Raises UpstreamBrokenError: the answer cannot
    be read, so that nothing of it may be shown.
    """
    answer = json_object(body)
    if answer is None:
        raise UpstreamBrokenError("The model server's answer about the model could not be read.")
    if answer.get("remote_host") or answer.get("remote_model"):
        raise ModelNotFoundError(call.model)
    shown = _allowed(answer, _SHOWN)
    return orjson.dumps({"details": {}, "model_info": {}} | shown | {"modelfile": modelfile(call.model, shown)})


def modelfile(model: str, shown: Mapping[str, Any]) -> str:
    """A Modelfile that names the model instead of its file, from what else is shown of it."""
    lines = ["# Modelfile made from what this gateway shows of the model.", f"FROM {model}"]
    template = shown.get("template", "")
    if template and '"""' not in template:  # which ends the quotation
        lines.append(f'TEMPLATE """{template}"""')
    for line in shown.get("parameters", "").splitlines():
        name, _, value = line.strip().partition(" ")
        if value:
            lines.append(f"PARAMETER {name} {value.strip()}")
    return "\n".join(lines) + "\n"


def _allowed(value: Any, fields: Mapping[str, Cleaned]) -> JsonObject:
    cleaned = ((name, clean(value[name])) for name, clean in fields.items() if name in value)
    return {name: shown for name, shown in cleaned if shown is not None}


def _text(value: Any) -> str | None:
    return without_host_paths(value) if type(value) is str else None


def _whole(value: Any) -> int | None:
    return value if type(value) is int else None


def _scalar(value: Any) -> Any:
    if type(value) is str:
        return without_host_paths(value)
    return value if type(value) in _SCALARS else None


def _scalars(value: Any) -> list[Any] | None:
    if type(value) is not list or not all(type(item) in _SCALARS for item in value):
        return None
    return [_scalar(item) for item in value]


def _information(value: Any) -> JsonObject | None:
    """The key-value data of a model's file: figures, texts and lists of them."""
    if type(value) is not dict:
        return None
    cleaned = (
        (name, _scalars(item) if type(item) is list else _scalar(item))
        for name, item in value.items()
        if not is_host_path(name)
    )
    return {name: item for name, item in cleaned if item is not None}


def _details(value: Any) -> JsonObject | None:
    """The model's parent, which Ollama names by the file of its weights, is never shown."""
    if type(value) is not dict:
        return None
    return {"parent_model": ""} | _allowed(value, _DETAILS)


def _tensors(value: Any) -> list[JsonObject] | None:
    if type(value) is not list:
        return None
    return [_allowed(tensor, _TENSOR) for tensor in value if type(tensor) is dict]


_DETAILS: dict[str, Cleaned] = {
    "format": _text,
    "family": _text,
    "families": _scalars,
    "parameter_size": _text,
    "quantization_level": _text,
    "context_length": _whole,
    "embedding_length": _whole,
}

_TENSOR: dict[str, Cleaned] = {"name": _text, "type": _text, "shape": _scalars}

_SHOWN: dict[str, Cleaned] = {
    "license": _text,
    "parameters": _text,
    "template": _text,
    "details": _details,
    "model_info": _information,
    "projector_info": _information,
    "tensors": _tensors,
    "capabilities": _scalars,
    "modified_at": _text,
    "requires": _text,
}
