"""Taking out of a stream the usage that the gateway itself had asked for."""

import re

from neuronetz_gateway.surfaces.framing import json_object

_END = b"\n\n"
_USAGE = b'"usage"'
_DATA = b"data:"
_USAGE_FIELD = re.compile(rb',"usage":\{[^{}"]*(?:"[a-z_]+"[^{}"]*)*\}')
_HELD_AT_MOST_BYTES = 64 << 10  # a longer record is neither the usage record nor worth holding back


class UsageRemover:
    """Passes server-sent events on, whole records as soon as they are complete, without the usage record.

    in_every_record also takes out the zero usage that /v1/completions puts beside the choices (OLLAMA §3.2).
    All other bytes stay as they are; records that came together leave together.
    """

    __slots__ = ("_held", "_in_every_record", "_passing")

    def __init__(self, *, in_every_record: bool = False) -> None:
        self._in_every_record = in_every_record
        self._held = bytearray()
        self._passing = False

    def feed(self, chunk: bytes) -> bytes:
        """What of the stream may leave now; empty where nothing may."""
        if not self._held and chunk.endswith(_END) and chunk.find(_USAGE) < 0:
            self._passing = False
            return chunk
        already = max(0, len(self._held) - 1)
        self._held += chunk
        end = self._held.rfind(_END, already)
        if end < 0:
            return self._pass_on_an_endless_record()
        whole = bytes(self._held[: end + len(_END)])
        del self._held[: end + len(_END)]
        return self._edited(whole) if _USAGE in whole else self._passed(whole)

    def flush(self) -> bytes:
        rest = bytes(self._held)
        self._held.clear()
        return rest

    def _passed(self, whole: bytes) -> bytes:
        self._passing = False
        return whole

    def _pass_on_an_endless_record(self) -> bytes:
        if not self._passing and len(self._held) <= _HELD_AT_MOST_BYTES:
            return b""
        self._passing = True
        passed = bytes(self._held[:-1])  # its last byte may be half of the end
        del self._held[:-1]
        return passed

    def _edited(self, whole: bytes) -> bytes:
        *records, begun = whole.split(_END)
        self._held[:0] = begun  # the third of three newlines, with which the next record begins
        first = 1 if self._passing else 0  # the rest of a record whose beginning has left already
        self._passing = False
        kept = records[:first] + [self._without(record) for record in records[first:] if not _is_usage(record)]
        return b"".join(record + _END for record in kept)

    def _without(self, record: bytes) -> bytes:
        return _USAGE_FIELD.sub(b"", record, count=1) if self._in_every_record else record


def _is_usage(record: bytes) -> bool:
    data = record.lstrip(b"\n")
    if _USAGE not in data or not data.startswith(_DATA):
        return False
    payload = json_object(data[len(_DATA) :])
    return payload is not None and payload.get("choices") == [] and type(payload.get("usage")) is dict
