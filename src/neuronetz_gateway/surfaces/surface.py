"""The shape of one public protocol, its endpoints, a call on its way through."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from neuronetz_gateway.domain.model_facts import ModelFacts
from neuronetz_gateway.domain.request_policy import RequestPolicy
from neuronetz_gateway.domain.standing import Standing
from neuronetz_gateway.domain.usage import MeterReading
from neuronetz_gateway.errors import GatewayError
from neuronetz_gateway.surfaces.limit_headers import openai_names

type JsonObject = dict[str, Any]
type RawHeaders = Sequence[tuple[bytes, bytes]]
type Allows = Callable[[str], bool]
"""Whether a caller may use a model, by its canonical name."""


def nothing_known(_: str) -> ModelFacts | None:
    return None


@dataclass(frozen=True, slots=True)
class RequestRules:
    """What the operator's settings say about request bodies.

    template_tokens allows for the template and system prompt of a model of which nothing is known, facts_of tells what
    is known of one by its canonical name, from any thread, without waiting; image_tokens is the bound of one image;
    max_depth and max_nodes bound the JSON of a body; policy says what may be asked for besides an answer.
    """

    template_tokens: int = 1024
    image_tokens: int = 4096
    max_depth: int = 64
    max_nodes: int = 100_000
    policy: RequestPolicy = RequestPolicy()  # noqa: RUF009 - frozen: all may share it
    facts_of: Callable[[str], ModelFacts | None] = nothing_known

    def facts(self, model: str) -> ModelFacts:
        """What is known of a model, or what has to be assumed."""
        return self.facts_of(model) or ModelFacts(self.template_tokens)


class Call(NamedTuple):
    """A request body, read: what it asks for and what will be sent in its place.

    model is canonical; prompt_bound_tokens bounds the prompt from above without a tokenizer (DESIGN §5);
    output_asked_tokens is None where the caller set no cap; adjusted names the fields that policy changed. loads says
    that nothing is generated: the model is loaded or unloaded, which only some keys may ask for (OLLAMA §1.1).
    """

    model: str
    streamed: bool
    prompt_bound_tokens: int
    output_asked_tokens: int | None
    body: JsonObject
    usage_wanted: bool = False
    adjusted: tuple[str, ...] = ()
    loads: bool = False


class Meter(Protocol):
    """Looks at the bytes that pass, whatever their chunking, without holding or changing them."""

    @property
    def counted_output(self) -> int:
        """Content records seen so far, each at least one token."""

    def feed(self, chunk: bytes) -> None: ...

    def reading(self) -> MeterReading:
        """What was seen so far; called once the stream has ended, however it ended."""


class StreamEditor(Protocol):
    """Takes out of a stream what the gateway itself had asked for, record by record."""

    def feed(self, chunk: bytes) -> bytes: ...

    def flush(self) -> bytes:
        """What is left at the end of a stream that stopped inside a record."""


@dataclass(frozen=True, slots=True)
class Surface:
    """One public protocol as data and pure functions.

    credential finds the presented key in raw headers (lower-case names), None where there is none, and raises
    InvalidRequestError for two different ones. error_body, error_headers and error_event render a refusal before
    the first byte, its extra headers, and an error after the first byte, each given the id of the request too.
    record_end is what ends a record of a stream; request_id_headers name the request in every answer.
    limit_headers tells what is left of the limits, on answers as on refusals.
    """

    name: str
    prefix: str
    credential: Callable[[RawHeaders], str | None]
    error_body: Callable[[GatewayError, str], bytes]
    error_headers: Callable[[GatewayError, str], list[tuple[bytes, bytes]]]
    error_event: Callable[[GatewayError, str], bytes]
    record_end: bytes = b"\n"
    request_id_headers: tuple[bytes, ...] = (b"x-request-id",)
    limit_headers: Callable[[Standing], list[tuple[bytes, bytes]]] = openai_names


def no_editor(_: Call) -> StreamEditor | None:
    return None


@dataclass(frozen=True, slots=True)
class Inference:
    """How a body that reaches a model is read, written and metered; has_output is false for embeddings.

    write puts the granted output cap where the upstream obeys it and returns the bytes to send. cap_fields are where a
    caller may ask for a cap, the first that is there being the one that counts.
    """

    read: Callable[[JsonObject, RequestRules], Call]
    write: Callable[[Call, int], bytes]
    new_meter: Callable[[Call], Meter]
    new_editor: Callable[[Call], StreamEditor | None] = no_editor
    has_output: bool = True
    cap_fields: tuple[str, ...] = ()

    def changed_cap(self, call: Call, granted: int) -> str:
        """The field in which a caller asked for another cap than was granted; empty where none did."""
        for path in self.cap_fields:
            outer, dot, inner = path.partition(".")
            asked = call.body.get(outer, {}).get(inner) if dot else call.body.get(outer)
            if asked is not None:
                return path if asked != granted else ""
        return ""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One row of the table of what exists: a method on a literal path, or on a path that ends with a model's name.

    inference is None for routes that cost no tokens; asks then reads their body, where they take one. shown rewrites
    a whole answer, given the call and which models the caller may use (canonical names), so that nothing of another
    model, nor of the host, is seen; it raises NotFoundError or UpstreamBrokenError. The upstream is asked by
    upstream_method on upstream_path, never on the caller's own.
    """

    method: str
    path: str
    surface: Surface
    inference: Inference | None = None
    asks: Callable[[JsonObject, RequestRules], Call] | None = None
    shown: Callable[[bytes, Call, Allows], bytes] | None = None
    upstream_method: str = ""
    upstream_path: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "upstream_method", self.upstream_method or self.method)
        object.__setattr__(self, "upstream_path", self.upstream_path or self.path)

    @property
    def prefix(self) -> str | None:
        """What stands before the name of a model in the path, None for a literal path."""
        before, brace, _ = self.path.partition("{")
        return before if brace else None
