"""Checkpoints: what is signed of the audit chains, as a text that stays as it was signed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

from neuronetz_gateway.domain.audit_chain import HASH_BYTES, ChainName, Head

_VERSION = 1
NO_CHECKPOINT = ""  # what the first checkpoint follows upon
# CheckpointFormatError is one of them
_UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)


class CheckpointFormatError(ValueError):
    """A text is no checkpoint."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far chains had come at a moment; `previous` is the digest of the checkpoint before.

    `dropped` are days whose rows go by retention.
    """

    number: int
    at: datetime
    previous: str
    key_id: str
    heads: tuple[Head, ...] = ()
    dropped: tuple[date, ...] = ()

    def document(self) -> str:
        """The text to sign: JSON without white space, names sorted."""
        values = {
            "version": _VERSION,
            "number": self.number,
            "at": self.at.astimezone(UTC).isoformat(timespec="microseconds"),
            "previous": self.previous,
            "key_id": self.key_id,
            "heads": [
                [str(head.chain.writer), head.chain.day.isoformat(), head.sequence, head.hash.hex()]
                for head in self.heads
            ],
            "dropped": [day.isoformat() for day in self.dropped],
        }
        return json.dumps(values, separators=(",", ":"), sort_keys=True)


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A checkpoint as it is kept; `at` and `key_id` repeat what the document says."""

    number: int
    at: datetime
    document: str
    key_id: str
    signature: bytes = field(repr=False)

    @property
    def digest(self) -> str:
        """By which the next checkpoint names this one."""
        return sha256(self.document.encode()).hexdigest()

    def line(self) -> str:
        """The checkpoint on one line, for the second sink; the document in it is the signed text itself."""
        values = {
            "event": "audit_checkpoint",
            "number": self.number,
            "key_id": self.key_id,
            "signature": self.signature.hex(),
            "document": self.document,
        }
        return json.dumps(values, separators=(",", ":"))


def parsed_document(document: str) -> Checkpoint:
    """What a document says; raises CheckpointFormatError."""
    try:
        values = json.loads(document)
        version = values["version"]
        checkpoint = Checkpoint(
            number=int(values["number"]),
            at=datetime.fromisoformat(values["at"]),
            previous=str(values["previous"]),
            key_id=str(values["key_id"]),
            heads=tuple(_head(*each) for each in values["heads"]),
            dropped=tuple(date.fromisoformat(day) for day in values["dropped"]),
        )
    except _UNREADABLE as error:
        raise CheckpointFormatError("it is no checkpoint") from error
    if version != _VERSION:
        raise CheckpointFormatError(f"its version is {version!r}; {_VERSION} is known")
    return checkpoint


def parsed_line(line: str) -> SignedCheckpoint:
    """One line of the second sink; raises CheckpointFormatError."""
    try:
        values: Mapping[str, Any] = json.loads(line)
        document = str(values["document"])
        return SignedCheckpoint(
            number=int(values["number"]),
            at=parsed_document(document).at,
            document=document,
            key_id=str(values["key_id"]),
            signature=bytes.fromhex(values["signature"]),
        )
    except _UNREADABLE as error:
        raise CheckpointFormatError("it is no checkpoint") from error


def _head(writer: str, day: str, sequence: int, digest: str) -> Head:
    last = bytes.fromhex(digest)
    if len(last) != HASH_BYTES or type(sequence) is not int or sequence < 1:
        raise CheckpointFormatError(f"it lists no hash for the chain {writer} of {day}")
    return Head(ChainName(UUID(writer), date.fromisoformat(day)), sequence, last)
