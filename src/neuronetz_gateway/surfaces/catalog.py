"""Every endpoint that exists; a path that is not here does not exist."""

from neuronetz_gateway.surfaces import anthropic, completions, ollama, openai, responses
from neuronetz_gateway.surfaces.blocked_paths import is_blocked
from neuronetz_gateway.surfaces.surface import Endpoint, Surface

__all__ = ["ACCOUNT", "ENDPOINTS", "is_blocked", "methods_of", "nearest", "surface_of"]

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
_NAMED = tuple(endpoint.prefix for endpoint in ENDPOINTS if endpoint.prefix is not None)
# What follows the first part of a path, the longest first: /chat/completions before /completions.
_TAILS = sorted(
    ((path[path.index("/", 1) :], path) for path in _SURFACES if not path.startswith(_NAMED)),
    key=lambda tail: len(tail[0]),
    reverse=True,
)


def surface_of(path: str) -> Surface:
    """The protocol in which to answer on a path, known or not.

    Whose base URL has a /v1 too few or too many speaks the protocol of the path that was meant: openai-python 3 shows
    nothing at all of an error in Ollama's shape (OLLAMA §6).
    """
    surface = _SURFACES.get(path) or _SURFACES.get(nearest(path) or "")
    if surface is not None:
        return surface
    for each in _SURFACES_BY_PREFIX:
        if f"{path}/".startswith(f"{each.prefix.rstrip('/')}/"):
            return each
    return ollama.OLLAMA


def nearest(path: str) -> str | None:
    """The path of the table that an unknown one ends like, apart from the first part; None where there is none."""
    if path.startswith(_NAMED):
        return None
    ending = path.rstrip("/")
    return next((meant for tail, meant in _TAILS if ending.endswith(tail)), None)


def methods_of(path: str) -> tuple[str, ...]:
    """The methods that a path takes; none where it is not in the table."""
    return _METHODS.get(path, ())
