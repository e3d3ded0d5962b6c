"""The rules of fields whose bounds are set by operators, for all keys or for one (OLLAMA §4.5)."""

from typing import Any

from neuronetz_gateway.surfaces.fields import DROPPED, anything, at_most, dropped, flag, texts, whole, wrong
from neuronetz_gateway.surfaces.length_of_time import length_of_time, seconds_of
from neuronetz_gateway.surfaces.screening import Screening

_OLLAMAS_OWN_SECONDS = 300  # for which Ollama keeps a model when nobody says otherwise (OLLAMA §5.3)


def keep_alive(value: Any, path: str, screening: Screening) -> Any:
    """Pins a model for everybody, or evicts one: at most what the policy says, never less than Ollama's own time."""
    most = screening.policy.max_keep_alive_seconds
    if not most:
        return dropped(value, path, screening)
    seconds = seconds_of(length_of_time(value))
    kept = most if seconds < 0 else min(max(seconds, min(_OLLAMAS_OWN_SECONDS, most)), most)
    if kept != seconds:
        screening.adjusted.append(path)
    return int(kept) if kept == int(kept) else kept


def num_ctx(value: Any, path: str, screening: Screening) -> Any:
    """Memory for one, a reload for everybody: at most what the policy says."""
    most = screening.policy.max_num_ctx
    if not most:
        return dropped(value, path, screening)
    if whole(value, path, screening) < 1:
        raise wrong(path, "a whole number greater than 0")
    return at_most(most)(value, path, screening)


def raw(value: Any, path: str, screening: Screening) -> Any:
    """Passes by the template and the system prompt."""
    return flag(value, path, screening) if screening.policy.allow_raw else dropped(value, path, screening)


def context(value: Any, path: str, screening: Screening) -> Any:
    """Token ids of an earlier answer, which the model server turns into text in front of the prompt."""
    return anything(value, path, screening) if screening.policy.allow_context else dropped(value, path, screening)


def logprobs(value: Any, path: str, screening: Screening) -> Any:
    """true, false, or a whole number; as many as the policy says."""
    most = screening.policy.max_logprobs
    if value is False or (type(value) is int and value <= most):
        return value
    if value is not True and type(value) is not int:
        raise wrong(path, "true, false or a whole number")
    if value is True and most:
        return value
    screening.adjusted.append(path)
    return most or DROPPED


def images(value: Any, path: str, screening: Screening) -> Any:
    """Images in base64; their number is the whole request's."""
    screening.count_images(len(texts(value, path, screening)), path)
    return value
