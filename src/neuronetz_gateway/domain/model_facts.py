"""What is known of a model beyond its name."""

from dataclasses import dataclass

CONTEXT_STEP = 256  # llama.cpp rounds the context of a slot up to a multiple of it (llama-context.cpp)


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a model adds to every prompt and how much it can hold at all, in tokens.

    template_tokens bounds its own template, system prompt and messages (DESIGN §5: a token covers at least one byte);
    context_tokens is None where it is not known. remote says that the name stands for a model elsewhere, to which
    Ollama would send the request on (OLLAMA §4.1).
    """

    template_tokens: int
    context_tokens: int | None = None
    remote: bool = False
