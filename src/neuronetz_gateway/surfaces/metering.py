"""Meters of record streams: what was consumed, seen in the bytes that pass."""

from collections.abc import Callable
from typing import Any

from neuronetz_gateway.domain.usage import MeterReading
from neuronetz_gateway.surfaces.framing import Lines, json_object, token_count

# These byte patterns cannot stand inside a JSON string, where each quote has a backslash before it.
_NDJSON_CONTENT = b'"done":false}'
_NDJSON_CONTENT_LINE = _NDJSON_CONTENT + b"\n"
_NDJSON_NOT_DONE, _NDJSON_DONE = b'"done":false', b'"done":true'
_DATA = b"data:"
_SSE_UNFINISHED = b'"finish_reason":null}]}'
_SSE_UNFINISHED_RECORD = _SSE_UNFINISHED + b"\n\n"
_NEWLINES_OF_A_RECORD = 2
_CONTENT, _REASONING = b'"content":"', b'"reasoning":"'
_CALLS = b'"tool_calls":[{'
_PASSED_IN_PIECES_BYTES = 64 << 10  # a longer record leaves before its end is there (WholeRecords)
_QUOTE = b'"'


class RecordMeter:
    """What the meters of record streams share; `_take` reads one line."""

    __slots__ = (
        "_counted",
        "_failed",
        "_lines",
        "_output_tokens",
        "_prompt_tokens",
        "_terminated",
        "_uncounted_bytes",
    )

    def __init__(self) -> None:
        self._lines = Lines()
        self._counted = self._uncounted_bytes = 0
        self._prompt_tokens: int | None = None
        self._output_tokens: int | None = None
        self._terminated = self._failed = False

    @property
    def counted_output(self) -> int:
        return self._counted + self._lines.overlong

    def feed(self, chunk: bytes) -> None:
        for line in self._lines.cut(chunk):
            self._take(line)

    def reading(self) -> MeterReading:
        rest = self._lines.rest()
        if len(rest) > _PASSED_IN_PIECES_BYTES:
            self._uncounted_bytes += len(rest)
        self._take(rest)
        return MeterReading(
            prompt_tokens=self._prompt_tokens,
            output_tokens=self._output_tokens,
            counted_output=self.counted_output,
            terminated=self._terminated,
            failed=self._failed,
            uncounted_bytes=self._uncounted_bytes,
        )

    def _take(self, line: bytes) -> None:
        raise NotImplementedError


class NdjsonMeter(RecordMeter):
    """Reads Ollama's own streams: a record a line, the last one with `"done":true` and the counts (OLLAMA §3)."""

    __slots__ = ()

    def feed(self, chunk: bytes) -> None:
        # Nearly every chunk is one plain content record: those are counted without being parsed.
        if chunk.endswith(_NDJSON_CONTENT_LINE) and not self._lines.holds and _CALLS not in chunk:
            records = chunk.count(b"\n")
            if records == 1 or records == chunk.count(_NDJSON_CONTENT_LINE):
                self._counted += records
                return
        super().feed(chunk)

    def _take(self, line: bytes) -> None:
        if _CALLS in line:
            self._uncounted_bytes += len(line)
        if line.endswith(_NDJSON_CONTENT) or (_NDJSON_NOT_DONE in line and _NDJSON_DONE not in line):
            self._counted += 1
            return
        record = json_object(line)  # the arguments of a tool call may have a "done" of their own
        if record is None:
            return
        if record.get("done") is True:
            self._terminated = True
            self._prompt_tokens = token_count(record.get("prompt_eval_count"))
            self._output_tokens = token_count(record.get("eval_count"))
        elif record.get("done") is False:
            self._counted += 1
        elif "error" in record:
            self._failed = True


class SseMeter(RecordMeter):
    """Reads OpenAI streams: a `data:` record a token, the usage in a record without choices, then `[DONE]`.

    has_content tells, of one choice, whether its record carries output.
    """

    __slots__ = ("_has_content",)

    def __init__(self, has_content: Callable[[dict[str, Any]], bool]) -> None:
        super().__init__()
        self._has_content = has_content

    def feed(self, chunk: bytes) -> None:
        if (
            chunk.endswith(_SSE_UNFINISHED_RECORD)
            and not self._lines.holds
            and chunk.count(b"\n") == _NEWLINES_OF_A_RECORD
            and _CALLS not in chunk
            and _plainly_has_content(chunk)
        ):
            self._counted += 1
            return
        super().feed(chunk)

    def _take(self, line: bytes) -> None:
        if _CALLS in line:
            self._uncounted_bytes += len(line)
        if line.endswith(_SSE_UNFINISHED) and _plainly_has_content(line):
            self._counted += 1
            return
        if not line.startswith(_DATA):
            return
        payload = line[len(_DATA) :].strip()
        if payload == b"[DONE]":
            self._terminated = True
            return
        record = json_object(payload)
        if record is not None:
            self._read(record)

    def _read(self, record: dict[str, Any]) -> None:
        if record.get("error"):
            self._failed = True
            return
        choices = record.get("choices")
        if not choices:
            usage = record.get("usage")
            if type(usage) is dict:  # the zero usages of /v1/completions stand beside choices
                self._prompt_tokens = token_count(usage.get("prompt_tokens"))
                self._output_tokens = token_count(usage.get("completion_tokens"))
        elif record.get("model") == "":
            self._failed = True  # all that is left of an error (OLLAMA §3.5)
        elif type(choices) is list and any(type(choice) is dict and self._has_content(choice) for choice in choices):
            self._counted += 1


def _plainly_has_content(record: bytes) -> bool:
    at = record.rfind(_CONTENT)  # nearer to the end
    if at < 0:
        return False
    after = at + len(_CONTENT)
    if record[after : after + 1] != _QUOTE:
        return True
    at = record.find(_REASONING, after)
    after = at + len(_REASONING)
    return at >= 0 and record[after : after + 1] != _QUOTE
