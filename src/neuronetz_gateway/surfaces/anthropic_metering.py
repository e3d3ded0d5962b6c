"""The meter of Anthropic streams: named server-sent events, the usage in the last but one of them."""

import re
from typing import Any

from neuronetz_gateway.surfaces.framing import json_object, token_count
from neuronetz_gateway.surfaces.metering import RecordMeter

_EVENT, _DATA, _ERROR = b"event:", b"data:", b"error"
_RECORD_END = b'"}}\n\n'
_LINE_END = b'"}}'
_NEWLINES_OF_A_RECORD = 3
_CALL = "input_json_delta"
_OUTPUT = {"text_delta": "text", "thinking_delta": "thinking", _CALL: "partial_json"}

# Such a pattern cannot stand inside a JSON string, where each quote has a backslash before it.
_PLAIN = (
    rb'data: \{"type":"content_block_delta","index":[0-9]{1,9},"delta":\{'
    rb'"type":"(?:text_delta","text|thinking_delta","thinking)":"(?!")'
)
_plain_line = re.compile(_PLAIN).match
_plain_record = re.compile(rb"event: content_block_delta\n" + _PLAIN).match


class MessagesMeter(RecordMeter):
    """Reads the streams of /v1/messages (OLLAMA §3): a content_block_delta a token, then message_delta, message_stop.

    The figure in message_start is an estimate of a quarter of the bytes, so it is not read (OLLAMA §3.2).
    """

    __slots__ = ()

    def feed(self, chunk: bytes) -> None:
        # Nearly every chunk is one plain content record: those are counted without being parsed.
        if (
            chunk.endswith(_RECORD_END)
            and not self._lines.holds
            and chunk.count(b"\n") == _NEWLINES_OF_A_RECORD
            and _plain_record(chunk)
        ):
            self._counted += 1
            return
        super().feed(chunk)

    def _take(self, line: bytes) -> None:
        if line.startswith(_EVENT):
            self._failed = self._failed or line[len(_EVENT) :].strip() == _ERROR
        elif line.endswith(_LINE_END) and _plain_line(line):
            self._counted += 1
        elif line.startswith(_DATA):
            record = json_object(line[len(_DATA) :].strip())
            if record is not None:
                self._read(record)

    def _read(self, record: dict[str, Any]) -> None:
        match record.get("type"):
            case "content_block_delta":
                self._take_delta(record.get("delta"))
            case "message_delta":
                usage = record.get("usage")
                if type(usage) is dict:
                    self._prompt_tokens = token_count(usage.get("input_tokens"))
                    self._output_tokens = token_count(usage.get("output_tokens"))
            case "message_stop":
                self._terminated = True
            case "error":
                self._failed = True

    def _take_delta(self, delta: Any) -> None:
        output = delta.get(_OUTPUT.get(str(delta.get("type")), "")) if type(delta) is dict else None
        if output:
            self._counted += 1
            if delta["type"] == _CALL:
                self._uncounted_bytes += len(str(output).encode())
