"""Handing a stream on in whole records."""

from neuronetz_gateway.surfaces.framing import json_object

_HELD_AT_MOST_BYTES = 64 << 10  # a longer record is passed on in pieces: nobody waits that long, nor holds that much
_ERROR = b"error"
_ERROR_EVENT = b"event: error"
_DATA = b"data:"
_FAILURES = ("error", "response.failed")  # no set: what is looked for may be a list, which has no hash


class WholeRecords:
    """Passes records on as soon as they are complete; those that came together leave together.

    What a stream breaks off with is not passed on, so that the error event of the gateway stands in a record of its
    own: after half a record the SDKs would raise over that, not over the event. For the same reason a record in which
    the upstream tells of its own failure is left out: its words are not for callers (OLLAMA §3.4).
    """

    __slots__ = ("_end", "_held", "_passing")

    def __init__(self, record_end: bytes) -> None:
        self._end = record_end
        self._held = bytearray()
        self._passing = False

    def feed(self, chunk: bytes) -> bytes:
        """What of the stream may leave now; empty where nothing may."""
        if not self._held and chunk.endswith(self._end) and _ERROR not in chunk:
            self._passing = False
            return chunk
        already = max(0, len(self._held) - len(self._end) + 1)
        self._held += chunk
        end = self._held.rfind(self._end, already)
        if end < 0:
            return self._pass_on_an_endless_record()
        end += len(self._end)
        whole = bytes(self._held[:end])
        del self._held[:end]
        return self._without_failures(whole)

    def rest(self) -> bytes:
        """What stands after the last record of a stream that ended well."""
        rest = bytes(self._held)
        self._held.clear()
        return rest

    def _pass_on_an_endless_record(self) -> bytes:
        if not self._passing and len(self._held) <= _HELD_AT_MOST_BYTES:
            return b""
        self._passing = True
        kept = len(self._end) - 1  # may be half of the end
        end = len(self._held) - kept
        passed = bytes(self._held[:end])
        del self._held[:end]
        return passed

    def _without_failures(self, whole: bytes) -> bytes:
        passing, self._passing = self._passing, False
        if _ERROR not in whole:
            return whole
        *records, begun = whole.split(self._end)
        self._held[:0] = begun  # the third of three newlines, with which the next record begins
        first = 1 if passing else 0  # the rest of a record whose beginning has left already
        kept = records[:first] + [record for record in records[first:] if not _tells_of_failure(record)]
        return b"".join(record + self._end for record in kept)


def _tells_of_failure(record: bytes) -> bool:
    """Whether a record is the error of its stream, in any of the protocols; an answer may well speak of errors."""
    if _ERROR not in record:
        return False
    for line in record.split(b"\n"):
        if line == _ERROR_EVENT:
            return True
        payload = json_object(line.removeprefix(_DATA).strip())
        if payload is not None and (payload.get("error") or payload.get("type") in _FAILURES):
            return True
    return False
