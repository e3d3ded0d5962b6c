"""The answers of the fake Ollama that generate nothing."""

import base64
import hashlib
import struct
from dataclasses import dataclass
from typing import Any

from tests.support.fake_ollama_asks import Ask, canonical
from tests.support.fake_ollama_formats import CREATED, CREATED_AT, NATIVE_JSON, PLAIN_JSON, Usage, encode, refusal
from tests.support.fake_ollama_paths import Family, Kind, Match
from tests.support.fake_ollama_script import Behaviour

VERSION = "0.33.0-rc2"
SYSTEM_PROMPT = "You are the house model. This prompt is nobody's business."
BLOB_PATH = "/usr/share/ollama/.ollama/models/blobs/sha256-0123456789abcdef"
DIMENSIONS = 8


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


def native(value: Any, status: int = 200) -> Reply:
    return Reply(status, NATIVE_JSON, encode(value))


def plain(value: Any) -> Reply:
    return Reply(200, PLAIN_JSON, encode(value) + b"\n")


def routing_refusal(match: Match) -> Reply:
    """What the router itself says of a target without a route (§1.1, §2)."""
    texts = {404: b"404 page not found", 405: b"405 method not allowed", 400: b"400 Bad Request"}
    headers = (("Location", match.location), ("Allow", match.allow))
    told = tuple((name, value) for name, value in headers if value)
    return Reply(match.status, "text/plain", texts.get(match.status, b""), told)


def metadata(match: Match, fields: dict[str, Any], behaviour: Behaviour) -> Reply:
    """The reply of a route that is no inference."""
    models = behaviour.models
    path = match.route.path if match.route else ""
    if match.route is not None and match.route.kind is Kind.DANGEROUS:
        return native({"status": "success"})
    if path == "/":
        return Reply(200, "text/plain; charset=utf-8", b"Ollama is running")
    if path == "/api/show":
        return _show(str(fields.get("model") or fields.get("name") or ""), behaviour)
    if path == "/v1/models/:model":
        return _openai_model(match.parameter.strip(), models)
    replies: dict[str, Reply] = {
        "/api/version": native({"version": VERSION}),
        "/api/status": native({"cloud": {"disabled": True, "source": "env"}}),
        "/api/tags": native({"models": [_tag(name, behaviour) for name in models]}),
        "/api/ps": native({"models": [_loaded(name, behaviour) for name in models[:2]]}),
        "/v1/models": plain({"object": "list", "data": [_model(name) for name in models]}),
    }
    return replies.get(path, native({}))


def embedding_reply(path: str, ask: Ask, usage: Usage | None) -> Reply:
    """The reply of /api/embed, /api/embeddings, /v1/embeddings; only the legacy one never has usage."""
    inputs = ask.fields.get("input")
    vectors = [_vector(str(item)) for item in (inputs if isinstance(inputs, list) else [inputs])]
    if path == "/api/embeddings":
        return native({"embedding": _vector(str(ask.fields.get("prompt")))})
    if path == "/api/embed":
        counts = {"prompt_eval_count": usage.prompt_tokens} if usage and usage.prompt_tokens else {}
        head = {"model": ask.model, "embeddings": vectors, "total_duration": 14000000, "load_duration": 1000000}
        return native(head | counts)
    as_base64 = ask.fields.get("encoding_format") == "base64"
    data = [
        {"object": "embedding", "embedding": _base64(vector) if as_base64 else vector, "index": index}
        for index, vector in enumerate(vectors)
    ]
    tokens = {"prompt_tokens": usage.prompt_tokens, "total_tokens": usage.prompt_tokens} if usage else None
    body = {"object": "list", "data": data, "model": ask.model}
    return plain(body | ({} if tokens is None else {"usage": tokens}))


def _vector(text: str) -> list[float]:
    digest = hashlib.sha256(text.encode(errors="replace")).digest()
    return [(byte - 128) / 128 for byte in digest[:DIMENSIONS]]


def _base64(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _digest(name: str, behaviour: Behaviour) -> str:
    """Another one as soon as the model is shown in another way."""
    shown = behaviour.shown.get(name)
    return hashlib.sha256(name.encode() + (encode(shown) if shown else b"")).hexdigest()


def _details() -> dict[str, Any]:
    return {
        "parent_model": "",
        "format": "gguf",
        "family": "llama",
        "families": ["llama"],
        "parameter_size": "3.2B",
        "quantization_level": "Q4_K_M",
    }


def _tag(name: str, behaviour: Behaviour) -> dict[str, Any]:
    head = {"name": name, "model": name, "modified_at": CREATED_AT, "size": 2019393189}
    elsewhere = {field: value for field, value in behaviour.shown.get(name, {}).items() if field.startswith("remote_")}
    return head | elsewhere | {"digest": _digest(name, behaviour), "details": _details()}


def _loaded(name: str, behaviour: Behaviour) -> dict[str, Any]:
    head = {"name": name, "model": name, "size": 3231416320, "digest": _digest(name, behaviour)}
    head["details"] = _details() | {"parent_model": BLOB_PATH}
    return head | {"expires_at": CREATED_AT, "size_vram": 3231416320, "context_length": 4096}


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "library"}


def _openai_model(name: str, models: tuple[str, ...]) -> Reply:
    if canonical(name) in map(canonical, models):
        return plain(_model(name))
    return Reply(404, PLAIN_JSON, refusal(Family.OPENAI, 404, f"model '{name}' not found"))


def _show(name: str, behaviour: Behaviour) -> Reply:
    if canonical(name) not in map(canonical, behaviour.models):
        return native({"error": f"model '{name}' not found"}, 404)
    modelfile = f'# Modelfile generated by "ollama show"\nFROM {BLOB_PATH}\nSYSTEM {SYSTEM_PROMPT}\n'
    body = {
        "license": "MIT",
        "modelfile": modelfile,
        "parameters": 'stop    "<|eot_id|>"',
        "template": "{{ .System }} {{ .Prompt }}",
        "system": SYSTEM_PROMPT,
        "messages": [{"role": "user", "content": SYSTEM_PROMPT}],
        "details": _details() | {"parent_model": BLOB_PATH},
        "model_info": {"general.architecture": "llama", "llama.context_length": 4096},
        "capabilities": ["completion", "tools"],
        "modified_at": CREATED_AT,
    }
    shown = {canonical(name): fields for name, fields in behaviour.shown.items()}
    return native(body | shown.get(canonical(name), {}))
