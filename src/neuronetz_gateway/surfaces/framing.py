"""Cutting a byte stream into the lines and the JSON objects that it carries."""

from typing import Any

import orjson

RECORD_LIMIT_BYTES = 8 << 20  # the line limit of Ollama's own client (OLLAMA §7)
_TOKENS_AT_MOST = 1 << 40


class Lines:
    """Lines out of chunks of any size; holds what has no end yet, up to a bound.

    overlong counts the lines that passed the bound: they are let go, none of their bytes is given out.
    """

    __slots__ = ("_held", "_held_bytes", "_limit_bytes", "_skipping", "holds", "overlong")

    def __init__(self, limit_bytes: int = RECORD_LIMIT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._skipping = False
        self.holds = False
        self.overlong = 0

    def cut(self, chunk: bytes) -> list[bytes]:
        """The lines that end in this chunk, without their newline."""
        first, *lines = chunk.split(b"\n")
        if not lines:
            self._hold(first)
            return lines
        last = lines.pop()
        if self._skipping:
            self._skipping = False
        elif self._held_bytes + len(first) > self._limit_bytes:
            self.overlong += 1
        else:
            lines.insert(0, b"".join((*self._held, first)) if self._held else first)
        if len(chunk) > self._limit_bytes:
            lines = self._short_enough(lines)
        self._held, self._held_bytes = [], 0
        self.holds = False
        self._hold(last)
        return lines

    def rest(self) -> bytes:
        """What stands after the last newline, which is forgotten with this."""
        rest = b"".join(self._held)
        self._held, self._held_bytes = [], 0
        self.holds = self._skipping
        return rest

    def _short_enough(self, lines: list[bytes]) -> list[bytes]:
        kept = [line for line in lines if len(line) <= self._limit_bytes]
        self.overlong += len(lines) - len(kept)
        return kept

    def _hold(self, piece: bytes) -> None:
        if self._skipping or not piece:
            return
        self.holds = True
        self._held_bytes += len(piece)
        if self._held_bytes <= self._limit_bytes:
            self._held.append(piece)
            return
        self._held, self._held_bytes = [], 0
        self._skipping = True
        self.overlong += 1


def json_object(text: bytes | str) -> dict[str, Any] | None:
    """The JSON object that a text is; None for everything else."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return value if type(value) is dict else None


def token_count(value: Any) -> int | None:
    """A count of tokens as the upstream reports it; None for what cannot be one."""
    return value if type(value) is int and 0 <= value < _TOKENS_AT_MOST else None
