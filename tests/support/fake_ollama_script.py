"""How the fake Ollama is told to behave."""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tests.support.fake_ollama_parts import Parts, ToolCall

# The reply of OLLAMA.md §5.2, double space included.
BUSY_MESSAGE = "server busy, please try again.  maximum pending requests exceeded"
DEFAULT_MODELS = ("fakea:latest", "fakeb:latest", "llama3.2:latest", "qwen3:8b", "nomic-embed-text:latest")


class Fault(StrEnum):
    NONE = "none"
    SILENT_END = "silent_end"  # a clean end of the body, without terminator or usage (§3.3)
    ERROR_RECORD = "error_record"  # what a dying runner leaves on this route (§3.5), then a clean end
    RESET = "reset"  # RST
    CLOSE = "close"  # FIN between two chunks
    CLOSE_MID_CHUNK = "close_mid_chunk"  # FIN in the middle of a promised chunk, or body
    GARBAGE = "garbage"  # a chunk of nonsense, then a clean end
    GARBAGE_FRAMING = "garbage_framing"  # bytes that are no HTTP, then FIN
    HANG = "hang"  # nothing more, until the caller leaves


@dataclass(frozen=True, slots=True)
class Script:
    """One behaviour; the default is an Ollama in good health.

    "Records" are the chunks of a stream; where the answer is one body they are the tokens generated for it.
    The head of a stream leaves with its first record, as Ollama does it: `*_after_records=0` means "before the head".
    """

    tokens: int = 8  # generated, unless the request's cap is lower
    overrun_tokens: int = 0  # generated beyond that, whatever the cap says
    prompt_tokens: int | None = None  # instead of the counted ones
    reported_output_tokens: int | None = None  # in the usage, instead of the generated ones
    words: tuple[str, ...] = ()  # the text of the tokens, in turn, instead of the seeded ones
    thoughts: tuple[str, ...] = ()  # records of thinking before the text, not counted in the usage
    tool_calls: tuple[ToolCall, ...] = ()  # calls of tools before the text, not counted in the usage
    huge_record_bytes: int = 0  # the size of the first token's text
    omit_usage: bool = False
    zero_usage: bool = False
    delay_before_head_seconds: float = 0.0
    gap_seconds: float = 0.0  # between two tokens
    bytes_per_second: int = 0  # 0 = at once
    head_first: bool = False  # the head of a stream leaves alone, before its first record
    gate: asyncio.Event | None = None
    gate_after_records: int = 0
    fault: Fault = Fault.NONE
    fault_after_records: int = 0
    status: int = 200  # another one: an error body in the family's shape instead of a generation
    error: str = "the fake was told to fail"
    error_body: bytes | None = None  # instead of that shape
    content_length_delta: int = 0  # how far the length announced for a whole body is off
    # The request body is left in the socket (not for a script chosen by model). A caller who closes without a reset
    # may then go unnoticed, as with any server that does not read: his FIN waits behind what does not fit the window.
    unread_body: bool = False

    @property
    def parts(self) -> Parts | None:
        """What the answer holds besides text, None for nothing."""
        return Parts(self.thoughts, self.tool_calls) if self.thoughts or self.tool_calls else None


def busy() -> Script:
    """An Ollama whose queue is full."""
    return Script(status=503, error=BUSY_MESSAGE)


def never() -> Script:
    """An Ollama that takes the request without ever answering."""
    return Script(fault=Fault.HANG)


@dataclass(slots=True)
class Behaviour:
    """Which script holds for which request: the next one's, else the model's, else the default."""

    script: Script = field(default_factory=Script)
    metadata_script: Script = field(default_factory=Script)  # everything that is no inference
    by_model: dict[str, Script] = field(default_factory=dict)  # by the name as it is sent
    upcoming: deque[Script] = field(default_factory=deque)
    models: tuple[str, ...] = DEFAULT_MODELS
    shown: dict[str, dict[str, Any]] = field(default_factory=dict)  # by the listed name: fields of /api/show

    def at_head(self, *, inference: bool) -> tuple[Script, bool]:
        """The script known before the body is read, with whether it is this request's own."""
        if not inference:
            return self.metadata_script, True
        if self.upcoming:
            return self.upcoming.popleft(), True
        return self.script, False
