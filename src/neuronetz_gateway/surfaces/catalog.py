"""Every endpoint that exists; a path that is not here does not exist."""

from neuronetz_gateway.surfaces import ollama, openai
from neuronetz_gateway.surfaces.blocked_paths import is_blocked
from neuronetz_gateway.surfaces.surface import Endpoint, Surface

__all__ = ["ENDPOINTS", "is_blocked", "methods_of", "surface_of"]

ENDPOINTS: tuple[Endpoint, ...] = (  # hottest first: the router tries them in this order
    ollama.CHAT,
    openai.CHAT_COMPLETIONS,
    ollama.GENERATE,
    openai.EMBEDDINGS,
    ollama.EMBED,
    openai.MODELS,
    ollama.TAGS,
    ollama.VERSION,
)

_SURFACES = {endpoint.path: endpoint.surface for endpoint in ENDPOINTS}
_SURFACES_BY_PREFIX: tuple[Surface, ...] = (openai.OPENAI,)
_METHODS = {path: tuple(each.method for each in ENDPOINTS if each.path == path) for path in _SURFACES}


def surface_of(path: str) -> Surface:
    """The protocol in which to answer on a path, known or not."""
    surface = _SURFACES.get(path)
    if surface is not None:
        return surface
    for each in _SURFACES_BY_PREFIX:
        if f"{path}/".startswith(each.prefix):
            return each
    return ollama.OLLAMA


def methods_of(path: str) -> tuple[str, ...]:
    """The methods that a path takes; none where it is not in the table."""
    return _METHODS.get(path, ())
