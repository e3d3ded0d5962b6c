"""Every endpoint that exists; a path that is not here does not exist."""

from neuronetz_gateway.surfaces import anthropic, completions, ollama, openai, responses
from neuronetz_gateway.surfaces.blocked_paths import is_blocked
from neuronetz_gateway.surfaces.surface import Endpoint, Surface

__all__ = ["ACCOUNT", "ENDPOINTS", "is_blocked", "methods_of", "surface_of"]

ENDPOINTS: tuple[Endpoint, ...] = (  # hottest first: the router tries them in this order
    ollama.CHAT,
    openai.CHAT_COMPLETIONS,
    anthropic.MESSAGES,
    ollama.GENERATE,
    responses.RESPONSES,
    completions.COMPLETIONS,
    openai.EMBEDDINGS,
    ollama.EMBED,
    ollama.EMBEDDINGS,
    openai.MODELS,
    openai.MODEL,
    ollama.TAGS,
    ollama.TAGS_HEAD,
    ollama.SHOW,
    ollama.PS,
    ollama.VERSION,
    ollama.VERSION_HEAD,
)

# The gateway's own page, in front of no model: it has a chain of its own, so it stands beside the table.
ACCOUNT = Endpoint("GET", "/account", ollama.OLLAMA)

_SURFACES = {endpoint.path: endpoint.surface for endpoint in ENDPOINTS}
_SURFACES_BY_PREFIX: tuple[Surface, ...] = (anthropic.ANTHROPIC, openai.OPENAI)
_METHODS = {path: tuple(each.method for each in ENDPOINTS if each.path == path) for path in _SURFACES}
_METHODS[ACCOUNT.path] = (ACCOUNT.method,)


def surface_of(path: str) -> Surface:
    """The protocol in which to answer on a path, known or not."""
    surface = _SURFACES.get(path)
    if surface is not None:
        return surface
    for each in _SURFACES_BY_PREFIX:
        if f"{path}/".startswith(f"{each.prefix.rstrip('/')}/"):
            return each
    return ollama.OLLAMA


def methods_of(path: str) -> tuple[str, ...]:
    """The methods that a path takes; none where it is not in the table."""
    return _METHODS.get(path, ())
