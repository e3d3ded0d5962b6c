"""The shape of one public protocol, its endpoints, a call on its way through."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from neuronetz_gateway.domain.usage import MeterReading
from neuronetz_gateway.errors import GatewayError

type JsonObject = dict[str, Any]
type RawHeaders = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class RequestRules:
    """What the operator's settings say about request bodies.

    template_tokens allows for a model's own template and system prompt; image_tokens is the bound of one image;
    max_depth and max_nodes bound the JSON of a body; max_inputs bounds the texts of one embedding request, each
    of which the upstream works on at the same time (OLLAMA §4.4).
    """

    template_tokens: int = 1024
    image_tokens: int = 4096
    max_depth: int = 64
    max_nodes: int = 100_000
    max_inputs: int = 2048


@dataclass(frozen=True, slots=True)
class Call:
    """A request body, read: what it asks for and what will be sent in its place.

    model is canonical; prompt_bound_tokens bounds the prompt from above without a tokenizer (DESIGN §5);
    output_asked_tokens is None where the caller set no cap; adjusted names the fields that policy changed.
    """

    model: str
    streamed: bool
    prompt_bound_tokens: int
    output_asked_tokens: int | None
    body: JsonObject
    usage_wanted: bool = False
    adjusted: tuple[str, ...] = ()


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
    the first byte, its extra headers, and an error after the first byte. record_end is what ends a record of a stream.
    """

    name: str
    prefix: str
    credential: Callable[[RawHeaders], str | None]
    error_body: Callable[[GatewayError, str], bytes]
    error_headers: Callable[[GatewayError], list[tuple[bytes, bytes]]]
    error_event: Callable[[GatewayError, str], bytes]
    record_end: bytes = b"\n"


def no_editor(_: Call) -> StreamEditor | None:
    return None


@dataclass(frozen=True, slots=True)
class Inference:
    """How a body that reaches a model is read, written and metered; has_output is false for embeddings.

    write puts the granted output cap where the upstream obeys it and returns the bytes to send.
    """

    read: Callable[[JsonObject, RequestRules], Call]
    write: Callable[[Call, int], bytes]
    new_meter: Callable[[Call], Meter]
    new_editor: Callable[[Call], StreamEditor | None] = no_editor
    has_output: bool = True


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One row of the table of what exists: a method on a literal path.

    inference is None for routes that take no body and cost no tokens; filtered then rewrites a whole answer
    so that it shows only the models for which the predicate (over canonical names) holds.
    """

    method: str
    path: str
    surface: Surface
    inference: Inference | None = None
    filtered: Callable[[bytes, Callable[[str], bool]], bytes] | None = None
