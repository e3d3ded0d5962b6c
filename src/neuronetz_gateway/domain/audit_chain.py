"""The chain of audit rows: the text that is hashed, how one row holds the next."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from uuid import UUID

TEXT_VERSION = 1
# The columns in the order of the text (docs/AUDIT.md, audit_text_r1 in migrations/sql).
TEXT_COLUMNS = (
    "writer",
    "recorded_on",
    "sequence",
    "id",
    "tenant_id",
    "api_key_id",
    "request_id",
    "endpoint",
    "model",
    "outcome",
    "status",
    "reason",
    "prompt_tokens",
    "output_tokens",
    "charged_tokens",
    "estimated",
    "reserved_tokens",
    "first_byte_ms",
    "duration_ms",
    "admitted_at",
    "address",
    "user_agent",
    "day",
    "month",
    "occurrences",
)
MOMENTS = frozenset({"admitted_at", "day", "month"})
HASH_BYTES = 32
NO_HASH = b""  # what the first row of a chain follows upon
_LINE = json.JSONEncoder(ensure_ascii=False).encode


@dataclass(frozen=True, slots=True)
class ChainName:
    """One chain: what one lane of one process wrote on one day (UTC)."""

    writer: UUID
    day: date

    def __str__(self) -> str:
        return f"{self.writer} of {self.day}"


@dataclass(frozen=True, slots=True)
class Head:
    """How far a chain has come: the sequence of its last row, with that row's hash."""

    chain: ChainName
    sequence: int
    hash: bytes


def row_text(values: Sequence[str | int | bool | None]) -> str:
    """The text of a row, from its TEXT_COLUMNS in order: ids, days as strings; moments as microseconds since 1970.

    A JSON array that begins with TEXT_VERSION, `, ` between its elements, nothing escaped but what JSON must.
    """
    return _LINE([TEXT_VERSION, *values])


def linked_hash(before: bytes, text: str) -> bytes:
    """The hash of a row: of the hash of the row before it, followed by its own text in UTF-8."""
    return sha256(before + text.encode()).digest()
