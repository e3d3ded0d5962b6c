"""The table of what the demo model answers, in front of everything Ollama's surface asks of it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from neuronetz_gateway.embedded import demo_anthropic
from neuronetz_gateway.embedded.demo_call import MODEL_NAME, named_model, parsed, text_of
from neuronetz_gateway.embedded.demo_generation import CONTEXT_TOKENS, Generator, RefusedError
from neuronetz_gateway.embedded.demo_http import TEXT, Answer, Handler, Request
from neuronetz_gateway.embedded.demo_llama import LlamaError
from neuronetz_gateway.embedded.demo_ollama import OllamaRoutes, json_answer
from neuronetz_gateway.embedded.demo_openai import OpenAIRoutes
from neuronetz_gateway.embedded.demo_responses import ResponsesRoutes

# The Ollama whose surface this is (OLLAMA.md §0); the suffix says that it is none.
VERSION = "0.33.0-neuronetz-demo"
MODELS_PREFIX = "/v1/models/"
ANTHROPIC_PATH = "/v1/messages"
TRAINED_CONTEXT_TOKENS = 8192
LICENCE = "Apache-2.0"
DETAILS = {
    "parent_model": "",
    "format": "gguf",
    "family": "llama",
    "families": ["llama"],
    "parameter_size": "134.52M",
    "quantization_level": "Q4_1",
}
OPENAI_ERROR_TYPES = {400: "invalid_request_error", 404: "not_found_error"}


@dataclass(frozen=True)
class ModelFile:
    """The facts about the weights that Ollama lists."""

    size_bytes: int
    modified_at: datetime
    digest: str


class DemoRoutes:
    """The handler of all requests."""

    def __init__(
        self, generator: Generator, model: ModelFile, now: Callable[[], datetime], draw: Callable[[int], int]
    ) -> None:
        self._model, self._draw = model, draw
        native, openai = OllamaRoutes(generator, now), OpenAIRoutes(generator, now, draw)
        anthropic = demo_anthropic.AnthropicRoutes(generator, draw)
        self._table: dict[str, dict[str, Handler]] = {
            "/": _readable(self._root),
            "/api/version": _readable(self._version),
            "/api/tags": _readable(self._tags),
            "/api/ps": {"GET": self._running},
            "/api/show": {"POST": self._show},
            "/api/generate": {"POST": native.generate},
            "/api/chat": {"POST": native.chat},
            "/api/embed": {"POST": native.embed},
            "/api/embeddings": {"POST": native.embeddings},
            "/v1/models": {"GET": self._models},
            "/v1/chat/completions": {"POST": openai.chat_completions},
            "/v1/completions": {"POST": openai.completions},
            "/v1/embeddings": {"POST": openai.embeddings},
            "/v1/responses": {"POST": ResponsesRoutes(generator, now, draw).responses},
            ANTHROPIC_PATH: {"POST": anthropic.messages},
        }

    async def __call__(self, request: Request) -> Answer:
        """Answer ``request``; refusals take the shape of the route's family."""
        try:
            return await self._dispatched(request)
        except RefusedError as error:
            return self._refusal(request.path, error.status, error.message)
        except LlamaError as error:
            return self._refusal(request.path, error.status, error.message)

    def _dispatched(self, request: Request) -> Awaitable[Answer]:
        if request.path.startswith(MODELS_PREFIX):
            methods: dict[str, Handler] = {"GET": self._one_model}
        else:
            methods = self._table.get(request.path, {})
        handler = methods.get(request.method)
        if handler is not None:
            return handler(request)
        return _unrouted(methods)

    def _refusal(self, path: str, status: int, message: str) -> Answer:
        if path == ANTHROPIC_PATH:
            return demo_anthropic.refusal(status, message, self._draw)
        if not path.startswith("/v1/"):
            return json_answer({"error": message}, status)
        kind = OPENAI_ERROR_TYPES.get(status, "api_error")
        return json_answer({"error": {"message": message, "type": kind, "param": None, "code": None}}, status)

    async def _root(self, _: Request) -> Answer:
        return Answer(200, TEXT + "; charset=utf-8", b"Ollama is running")

    async def _version(self, _: Request) -> Answer:
        return json_answer({"version": VERSION})

    async def _tags(self, _: Request) -> Answer:
        return json_answer({"models": [self._listed()]})

    async def _running(self, _: Request) -> Answer:
        # It is never unloaded: the year 9999 says so in the form that clients expect.
        lasting = {"expires_at": "9999-12-31T23:59:59Z", "size_vram": 0, "context_length": CONTEXT_TOKENS}
        listed = {name: value for name, value in self._listed().items() if name != "modified_at"}
        return json_answer({"models": [listed | lasting]})

    async def _show(self, request: Request) -> Answer:
        fields = parsed(request.body)
        name = text_of(fields, "model") or text_of(fields, "name")
        if not name:
            raise RefusedError(400, "model is required")
        named_model(name)
        facts = {
            "general.architecture": "llama",
            "general.parameter_count": 134515008,
            "llama.context_length": TRAINED_CONTEXT_TOKENS,
            "llama.embedding_length": 576,
        }
        shown = {"license": LICENCE, "modelfile": f"FROM {MODEL_NAME}", "parameters": f"num_ctx {CONTEXT_TOKENS}"}
        shown |= {"template": TEMPLATE, "system": SYSTEM}
        described = {"details": DETAILS, "model_info": facts, "capabilities": ["completion"]}
        return json_answer(shown | described | {"modified_at": self._modified_at()})

    async def _models(self, _: Request) -> Answer:
        return json_answer({"object": "list", "data": [self._openai_model(MODEL_NAME)]})

    async def _one_model(self, request: Request) -> Answer:
        return json_answer(self._openai_model(named_model(request.path.removeprefix(MODELS_PREFIX))))

    def _listed(self) -> dict[str, Any]:
        listed = {"name": MODEL_NAME, "model": MODEL_NAME, "modified_at": self._modified_at()}
        return listed | {"size": self._model.size_bytes, "digest": self._model.digest, "details": DETAILS}

    def _openai_model(self, name: str) -> dict[str, Any]:
        created = int(self._model.modified_at.timestamp())
        return {"id": name, "object": "model", "created": created, "owned_by": "library"}

    def _modified_at(self) -> str:
        return self._model.modified_at.isoformat().replace("+00:00", "Z")


# What llama.cpp applies is the template within the weights; this is the same in Ollama's language.
TEMPLATE = (
    "{{- if .System }}<|im_start|>system\n{{ .System }}<|im_end|>\n{{ end }}"
    "{{- if .Prompt }}<|im_start|>user\n{{ .Prompt }}<|im_end|>\n{{ end }}<|im_start|>assistant\n"
)
SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"


def _readable(handler: Handler) -> dict[str, Handler]:
    return {"GET": handler, "HEAD": handler}


async def _unrouted(methods: dict[str, Handler]) -> Answer:
    if not methods:
        return Answer(404, TEXT, b"404 page not found")
    return Answer(405, TEXT, b"405 method not allowed", {"Allow": ", ".join(methods)})
