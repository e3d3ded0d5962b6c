"""What of the model server's own words may reach a caller."""

import re
from collections.abc import Callable
from typing import Any

from neuronetz_gateway.errors import (
    AnswerUnreadableError,
    ContextExceededError,
    GatewayError,
    InvalidRequestError,
    UpstreamBrokenError,
)
from neuronetz_gateway.surfaces.framing import json_object

_READ_CHARACTERS = 2000
_WRAPPINGS = 3  # llama-server's own JSON stands as a text in Ollama's error, which stands in an object on /v1

type Told = Callable[[re.Match[str], str], GatewayError]


def words_of(body: bytes) -> str:
    """The text of an error body, of whichever protocol, however deep (OLLAMA §3.4); empty for what is none."""
    words: bytes | str = body
    for _ in range(_WRAPPINGS):
        value: Any = json_object(words)
        if value is None:
            break
        while isinstance(value, dict):
            value = value.get("error") or value.get("message")
        words = value if isinstance(value, str) else ""
    return words[:_READ_CHARACTERS] if isinstance(words, str) else ""


def known(words: str, model: str) -> GatewayError | None:
    """What the caller can do about an error, told in the gateway's words; None for one that is not known."""
    for pattern, told in _KNOWN:
        found = pattern.search(words)
        if found is not None:
            return told(found, model)
    return None


def plain(words: str) -> str:
    """Words that say nothing of the host, nor of how the model server is made, as a sentence; else empty."""
    text = " ".join(words.split())
    if len(text) > _SENTENCE_CHARACTERS or not _PLAIN.fullmatch(text) or _INNER.search(text):
        return ""
    sentence = text[0].upper() + text[1:]
    return sentence if sentence[-1] in ".!?" else sentence + "."


_SENTENCE_CHARACTERS = 300
# Words as a dictionary has them, names of fields, small numbers: neither paths, addresses, digests, keys nor versions.
_WORD = r"[\"'(]*(?:[A-Z]?[a-z]{1,20}(?:[_'-][a-z]{1,20}){0,3}|[A-Z]{1,6}|base64|-?[0-9]{1,7})[\"'),;:.!?=]*"
_PLAIN = re.compile(rf"{_WORD}(?: {_WORD})*", re.ASCII)
_INNER = re.compile(  # names of hosts, files and types; whatever is the operator's
    r"[.:][^ ]|(?:\b|_)(?:go|json|goroutine|panic|runtime|runner|process|exit|signal|tcp|udp|"
    r"dial|lookup|connection|socket|host|hostname|localhost|port|address|server|llama|llm|ollama|registry|manifest|"
    r"blob|digest|layer|gguf|ggml|cuda|rocm|metal|vram|gpu|cpu|memory|template|file|folder|directory|path|home|root|"
    r"user|unmarshal|marshal|struct|interface|func|pointer|slice|nil|null|string|bool|int\d*|uint\d*|float\d*|byte|rune|"
    r"key|token|secret|password|sign|signin|account|upgrade|subscription)(?:\b|_)",
    re.IGNORECASE,
)


def _option(found: re.Match[str], _: str) -> GatewayError:
    field, kind = f"options.{found[1]}", found[2].replace("float32", "number")
    return InvalidRequestError(f"'{field}' has the wrong type: it takes a value of type {kind}.", field=field)


def _field(found: re.Match[str], _: str) -> GatewayError:
    field = found[1]
    return InvalidRequestError(f"'{field}' has the wrong type.", field=field)


def _unable(found: re.Match[str], model: str) -> GatewayError:
    return InvalidRequestError(f"The model '{model}' does not support {found[1].lower()}.", field="model")


def _context(found: re.Match[str], _: str) -> GatewayError:
    figures = re.search(r"\((\d{1,9}) tokens\).{1,60}\((\d{1,9}) tokens\)", found.string)
    told = f": {int(figures[1]):,} tokens, of which it holds {int(figures[2]):,}" if figures else ""
    return ContextExceededError(f"The prompt is longer than the context of the model{told}. Shorten it.")


def _says(kind: type[GatewayError], sentence: str) -> Told:
    return lambda _, __: kind(sentence)


# Ollama's own sentences (api/types.go, server/routes.go), then llama-server's.
_KNOWN: tuple[tuple[re.Pattern[str], Told], ...] = (
    (
        re.compile(r'option "([a-z_]{1,40})" must be of (?:type |an )(integer|boolean|float32|string|array)\b'),
        _option,
    ),
    (
        re.compile(
            r"cannot unmarshal \w+ into Go struct field \w+\.((?:messages|tools|format|think|input|prompt|suffix|"
            r"system|images|stop|response_format|reasoning|logprobs|temperature|top_p|seed|dimensions)"
            r"(?:\.[a-z_]{1,30}){0,4}) "
        ),
        _field,
    ),
    (
        re.compile(
            r"does not support (completion|chat|generate|tools|insert|thinking|vision|embeddings?|image generation|"
            r"image input|images?|audio)\b",
            re.IGNORECASE,
        ),
        _unable,
    ),
    (
        re.compile(
            r"exceeds? (?:the |maximum )?(?:available |maximum )?context|exceed_context_size|too large to process",
            re.IGNORECASE,
        ),
        _context,
    ),
    (
        re.compile(r"image URLs are not (?:currently )?supported", re.IGNORECASE),
        _says(InvalidRequestError, "An image must be sent along, as a data URL; it is not fetched from an address."),
    ),
    (
        re.compile(
            r"illegal base64|invalid image|(?:load|decode|process|unmarshal)\w* (?:the )?(?:image|audio)", re.IGNORECASE
        ),
        _says(InvalidRequestError, "An image, or a sound, of the request could not be read by the model server."),
    ),
    (
        re.compile(r"invalid (?:JSON schema|format)|\bgrammar\b", re.IGNORECASE),
        _says(InvalidRequestError, "The format that was asked for cannot be used: the JSON schema is not understood."),
    ),
    (
        re.compile(r"\bpars\w{1,3} (?:the )?tool call|\btool call pars", re.IGNORECASE),
        _says(AnswerUnreadableError, "The model called a tool in a form that the model server could not read."),
    ),
    (
        re.compile(r"more (?:system )?memory|out of memory|OOM\b", re.IGNORECASE),
        _says(UpstreamBrokenError, "The model server has not enough memory for this model with this request."),
    ),
)
