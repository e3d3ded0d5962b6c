"""Ids that sort by the time of their making."""

import os
import time
from uuid import UUID

_VERSION_AND_VARIANT = 0x7 << 76 | 0b10 << 62
_RANDOM = ((1 << 12) - 1) << 64 | (1 << 62) - 1


def uuid7() -> UUID:
    """A version 7 UUID (RFC 9562 §5.7): 48 bits of Unix milliseconds, then 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000 & (1 << 48) - 1
    return UUID(int=milliseconds << 80 | _VERSION_AND_VARIANT | int.from_bytes(os.urandom(10)) & _RANDOM)
