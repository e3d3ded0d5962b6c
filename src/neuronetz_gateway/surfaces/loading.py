"""Requests with nothing to work on, by which Ollama loads or unloads a model."""

from collections.abc import Iterable
from typing import Any

from neuronetz_gateway.errors import LoadingForbiddenError
from neuronetz_gateway.surfaces.length_of_time import length_of_time, seconds_of
from neuronetz_gateway.surfaces.surface import Call, JsonObject

_NOTHING: dict[str, Any] = {"prompt": "", "messages": []}
_SENDING = {"prompt": "Send a prompt.", "messages": "Send a message."}
_WORK_BESIDES = ("images", "suffix", "tools")


def loads(body: JsonObject, subject: str) -> bool:
    """Whether a body asks for nothing but to load or unload its model (OLLAMA §1.1).

    One that brings something else to work on is no such request, whatever Ollama would make of it.
    """
    return not body.get(subject) and not any(body.get(name) for name in _WORK_BESIDES)


def load_of(
    asked: JsonObject, model: str, subject: str, *, streamed: bool, policed: Iterable[str], most_seconds: int | None
) -> Call:
    """The call that loads or unloads; nothing but the time to keep the model goes up with its name.

    Options, a template or a system prompt do nothing here, unless Ollama took them for another way to load the model
    (OLLAMA §4.5). Of what is left out, the policed fields are named as adjusted. The model is kept no longer than
    most_seconds, None being as long as is asked; where that is 0, no time goes up but the one that unloads.

    Raises InvalidRequestError: keep_alive is no length of time.
    """
    body: JsonObject = {"model": model, subject: _NOTHING[subject], "stream": streamed}
    adjusted = [name for name in policed if asked.get(name) is not None and name not in {*body, "keep_alive"}]
    if asked.get("keep_alive") is not None:
        length = length_of_time(asked["keep_alive"])
        if most_seconds is None or 0 <= seconds_of(length) <= most_seconds:  # below 0 is for ever
            body["keep_alive"] = length
        else:
            adjusted.append("keep_alive")
            if most_seconds:
                body["keep_alive"] = most_seconds
    return Call(
        model=model,
        streamed=streamed,
        prompt_bound_tokens=0,
        output_asked_tokens=0,
        body=body,
        adjusted=tuple(adjusted),
        loads=True,
    )


def forbidden(call: Call) -> LoadingForbiddenError:
    """The refusal of such a call to a key that may not make it."""
    subject = next(name for name in _NOTHING if name in call.body)
    return LoadingForbiddenError(
        f"'{subject}' is missing or empty, which would load or unload the model; this key may not do that. "
        f"{_SENDING[subject]}",
        field=subject,
    )
