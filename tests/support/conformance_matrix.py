"""What the page of conformance tells: which SDKs, which features, which of them cannot exist."""

from dataclasses import dataclass
from typing import NamedTuple


class Cell(NamedTuple):
    """One field of the page."""

    surface: str
    feature: str
    sdk: str


@dataclass(frozen=True, slots=True)
class Surface:
    title: str
    sdks: tuple[str, ...]
    features: tuple[str, ...]
    errors: tuple[str, ...]


OLLAMA_PY, LANGCHAIN, OLLAMA_JS = "ollama (Python)", "langchain-ollama (Python)", "ollama (JavaScript)"
OPENAI_PY, OPENAI_JS = "openai (Python)", "openai (JavaScript)"
ANTHROPIC_PY, ANTHROPIC_JS = "anthropic (Python)", "@anthropic-ai/sdk (JavaScript)"

# Where the version of an SDK stands: in the installed Python package, or in tests/conformance/javascript/package.json.
PYTHON_PACKAGES = {
    OLLAMA_PY: "ollama",
    LANGCHAIN: "langchain-ollama",
    OPENAI_PY: "openai",
    ANTHROPIC_PY: "anthropic",
}
JAVASCRIPT_PACKAGES = {OLLAMA_JS: "ollama", OPENAI_JS: "openai", ANTHROPIC_JS: "@anthropic-ai/sdk"}

_CHAT = (
    "answer",
    "answer, streamed",
    "tool call",
    "tool call, streamed",
    "tool result, sent back",
    "structured output",
    "thinking",
    "thinking, streamed",
    "image",
)
_ERRORS = (
    "bad key",
    "forbidden model",
    "unknown model",
    "closed endpoint",
    "spent budget",
    "rate limit",
    "model server away",
    "death mid-stream",
)

SURFACES = {
    "ollama": Surface(
        "Ollama's own protocol",
        (OLLAMA_PY, LANGCHAIN, OLLAMA_JS),
        (
            *_CHAT,
            "completion",
            "completion, streamed",
            "embeddings",
            "embeddings, the old way",
            "list of models",
            "page of a model",
            "loaded models",
        ),
        _ERRORS,
    ),
    "openai": Surface(
        "OpenAI's protocol",
        (OPENAI_PY, OPENAI_JS),
        (
            *_CHAT,
            "completion",
            "completion, streamed",
            "response",
            "response, streamed",
            "response with a tool call",
            "response with structured output",
            "response with thinking",
            "embeddings",
            "list of models",
            "page of a model",
        ),
        _ERRORS,
    ),
    "anthropic": Surface(
        "Anthropic's protocol",
        (ANTHROPIC_PY, ANTHROPIC_JS),
        (*_CHAT, "system prompt", "counting of tokens", "list of models"),
        _ERRORS,
    ),
}

_NOT_IN_LANGCHAIN = "langchain-ollama has no call for it"
_NOT_IN_OLLAMA = "Ollama's Anthropic protocol has no such thing"

ABSENT: dict[Cell, str] = {
    Cell("ollama", "embeddings, the old way", LANGCHAIN): _NOT_IN_LANGCHAIN,
    Cell("ollama", "list of models", LANGCHAIN): _NOT_IN_LANGCHAIN,
    Cell("ollama", "page of a model", LANGCHAIN): _NOT_IN_LANGCHAIN,
    Cell("ollama", "loaded models", LANGCHAIN): _NOT_IN_LANGCHAIN,
    Cell("ollama", "closed endpoint", LANGCHAIN): _NOT_IN_LANGCHAIN,
    **{
        Cell("anthropic", feature, sdk): _NOT_IN_OLLAMA
        for feature in ("structured output", "counting of tokens", "list of models")
        for sdk in (ANTHROPIC_PY, ANTHROPIC_JS)
    },
}


def cells_of(surface: str) -> list[Cell]:
    """Every field of a surface, row by row."""
    one = SURFACES[surface]
    return [Cell(surface, feature, sdk) for feature in (*one.features, *one.errors) for sdk in one.sdks]


def every_cell() -> list[Cell]:
    return [cell for surface in SURFACES for cell in cells_of(surface)]
