"""What the gateway itself learns of a model from Ollama's answer to /api/show."""

from typing import Any

import orjson

from neuronetz_gateway.domain.model_facts import CONTEXT_STEP, ModelFacts
from neuronetz_gateway.errors import UpstreamBrokenError
from neuronetz_gateway.surfaces.prompt_bound import TOKENS_AROUND_A_MESSAGE
from neuronetz_gateway.surfaces.surface import JsonObject

_LEAST_CONTEXT = 2048  # what Ollama raises the num_ctx of a model that sees images to (sched.go, GetRunner)
_TOKENS_AT_MOST = 1 << 31


def facts_in(shown: JsonObject, *, least_template_tokens: int) -> ModelFacts:
    """The facts in an answer; whatever is missing or strange in it counts as not known.

    The template counts least_template_tokens however short it is: the one that is shown is not always the one that is
    used. A RENDERER builds prompts by a program, and where Ollama finds the template in the file of the weights the
    more capable one it has llama.cpp use that, whose text it never shows (routes.go, chatModeForModel; the file is
    also all that there is where no template is shown).

    The context is known of GGUF files alone. Theirs is the smaller of the context that the model was trained with and
    num_ctx of its Modelfile, to which every prompt is cut or beyond which it is refused: generate and chat cut it to
    num_ctx (chat keeps its system messages and its last one, which the runner then cuts or refuses), embed cuts each
    input, and whatever else arrives is refused by llama.cpp. Without a num_ctx the model server chooses one by its
    memory, never above the trained context (server.go, NewLlamaServer). Models of the MLX runner go by neither.

    Raises UpstreamBrokenError: the messages cannot be measured.
    """
    return ModelFacts(
        template_tokens=_template_tokens(shown, least_template_tokens),
        context_tokens=_context_tokens(shown) if _is_gguf(shown) else None,
    )


def joined(one: ModelFacts, other: ModelFacts) -> ModelFacts:
    """What holds of both, where two installed names differ by their case alone: Ollama may take either."""
    contexts = (one.context_tokens, other.context_tokens)
    known = [tokens for tokens in contexts if tokens is not None]
    return ModelFacts(
        template_tokens=max(one.template_tokens, other.template_tokens),
        context_tokens=max(known) if len(known) == len(contexts) else None,
        remote=one.remote or other.remote,
    )


def _template_tokens(shown: JsonObject, least: int) -> int:
    """A token covers at least one byte; the system prompt and the messages stand before every prompt."""
    before = _size(shown.get("system"))
    messages = shown.get("messages")
    if type(messages) is list:
        before += sum(_written(message) + TOKENS_AROUND_A_MESSAGE for message in messages)
    return before + max(_size(shown.get("template")), least)


def _size(text: Any) -> int:
    return len(text.encode()) if type(text) is str else 0


def _written(value: Any) -> int:
    try:
        return len(orjson.dumps(value))
    except orjson.JSONEncodeError:  # nested deeper than the encoder goes
        raise UpstreamBrokenError("The model server's messages of the model could not be read.") from None


def _is_gguf(shown: JsonObject) -> bool:
    details = shown.get("details")
    return type(details) is dict and details.get("format") == "gguf"


def _context_tokens(shown: JsonObject) -> int | None:
    chosen, trained = _chosen_context(shown.get("parameters")), _trained_context(shown.get("model_info"))
    if chosen is not None:
        chosen = max(chosen, _LEAST_CONTEXT)
    known = [tokens for tokens in (chosen, trained) if tokens is not None]
    return -(-min(known) // CONTEXT_STEP) * CONTEXT_STEP if known else None


def _chosen_context(parameters: Any) -> int | None:
    """The greatest num_ctx among the parameters, which are lines of a name and a value as Go writes it."""
    chosen: list[int] = []
    for line in parameters.splitlines() if type(parameters) is str else ():
        name, _, value = line.strip().partition(" ")
        if name == "num_ctx":
            tokens = _positive(_number(value))
            if tokens is None:
                return None
            chosen.append(tokens)
    return max(chosen, default=None)


def _trained_context(information: Any) -> int | None:
    if type(information) is not dict:
        return None
    return _positive(information.get(f"{information.get('general.architecture')}.context_length"))


def _number(text: str) -> Any:
    try:
        number = float(text)
    except ValueError:
        return None
    return int(number) if number.is_integer() else None


def _positive(value: Any) -> int | None:
    return value if type(value) is int and 0 < value < _TOKENS_AT_MOST else None
