"""The meter of streams in the format of OpenAI's Responses."""

import re
from typing import Any

from neuronetz_gateway.surfaces.framing import json_object, token_count
from neuronetz_gateway.surfaces.metering import RecordMeter

# Ollama writes the keys of an event in their order, so that its type stands last; within a JSON string each quote of
# these patterns would have a backslash before it.
_EVENT, _DATA = b"event:", b"data:"
_TEXT_EVENT = b"event: response.output_text.delta\ndata: {"
_TEXT_END = b'"type":"response.output_text.delta"}'
_TEXT_RECORD_END = _TEXT_END + b"\n\n"
_NEWLINES_OF_A_RECORD = 3
_DELTA, _QUOTE = b'"delta":"', b'"'
_REPEATED = re.compile(rb'"type":"response\.[a-z_.]+\.done"\}\Z')
_LONGEST_END_BYTES = 96

_CALL = "response.function_call_arguments.delta"
_ENDS = ("response.completed", "response.incomplete")  # no sets: what is looked for may be a list, which has no hash
_FAILURES = ("response.failed", "error")


class ResponsesMeter(RecordMeter):
    """Reads Responses streams: an event a token, the usage in the last one, which repeats the whole answer (OLLAMA §7).

    Every `.delta` that is not empty is output: text, thoughts, refusals, the arguments of a call.
    """

    __slots__ = ()

    def feed(self, chunk: bytes) -> None:
        # Nearly every chunk is one token of text: those are counted without being parsed.
        if (
            chunk.endswith(_TEXT_RECORD_END)
            and chunk.startswith(_TEXT_EVENT)
            and not self._lines.holds
            and chunk.count(b"\n") == _NEWLINES_OF_A_RECORD
            and _has_delta(chunk)
        ):
            self._counted += 1
            return
        super().feed(chunk)

    def _take(self, line: bytes) -> None:
        line = line.rstrip(b"\r")
        if line.startswith(_EVENT):
            self._failed = self._failed or line[len(_EVENT) :].strip() == b"error"
        elif line.startswith(_DATA):
            self._take_data(line)

    def _take_data(self, line: bytes) -> None:
        if line.endswith(_TEXT_END) and _has_delta(line):
            self._counted += 1
            return
        if _REPEATED.search(line, max(0, len(line) - _LONGEST_END_BYTES)):
            return  # it may be as long as the answer, so it is left unparsed
        record = json_object(line[len(_DATA) :])
        if record is not None:
            self._read(record)

    def _read(self, record: dict[str, Any]) -> None:
        kind = record.get("type")
        if record.get("error") or kind in _FAILURES:
            self._failed = True
        elif kind in _ENDS:
            self._terminated = True
            self._read_usage(record.get("response"))
        elif type(kind) is str and kind.endswith(".delta") and record.get("delta"):
            self._counted += 1
            if kind == _CALL:
                self._uncounted_bytes += len(str(record["delta"]).encode())

    def _read_usage(self, response: Any) -> None:
        usage = response.get("usage") if type(response) is dict else None
        if type(usage) is dict:
            self._prompt_tokens = token_count(usage.get("input_tokens"))
            self._output_tokens = token_count(usage.get("output_tokens"))


def _has_delta(record: bytes) -> bool:
    at = record.find(_DELTA)
    after = at + len(_DELTA)
    return at >= 0 and record[after : after + 1] != _QUOTE
