"""What is written down about each request."""

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from neuronetz_gateway.domain.usage import Charge

USER_AGENT_CHARACTERS = 200
PATH_CHARACTERS = 200
_KEY_LIKE = re.compile(r"nz_[0-9A-Za-z]{10,}", re.ASCII)  # longer than a prefix


class Outcome(StrEnum):
    """How a request ended; set once by whoever ended it, read by ledger, audit, log and metrics."""

    COMPLETED = "completed"
    CALLER_LEFT = "caller_left"
    UPSTREAM_REFUSED = "upstream_refused"  # an error status before anything was generated
    UPSTREAM_BROKEN = "upstream_broken"  # the answer ended without its terminator
    UPSTREAM_TIMED_OUT = "upstream_timed_out"
    NOT_FORWARDED = "not_forwarded"  # reserved, but no byte went up
    CUT = "cut"  # ended by the gateway: over its reservation, lease lost, time over
    REFUSED = "refused"
    FAILED = "failed"  # a defect of the gateway itself
    ABANDONED = "abandoned"  # its process died; charged in full by recovery
    ADJUSTED = "adjusted"  # no request: an operator's correction of what was used
    NOTED = "noted"  # no request: what an operator did with logged prompts


NO_REQUESTS = frozenset({Outcome.ADJUSTED, Outcome.NOTED})


class Settlement(NamedTuple):
    """How a reservation ends: one audit row, one charge, exactly once (DESIGN §5)."""

    reservation_id: UUID
    outcome: Outcome
    status: int
    charge: Charge
    first_byte_seconds: float | None = None
    duration_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class RefusalEvent:
    """A request that was refused before anything was reserved, or `occurrences` of the same kind.

    tenant_id and api_key_id are None where nobody was authenticated.
    """

    id: UUID
    tenant_id: UUID | None
    api_key_id: UUID | None
    endpoint: str
    model: str
    request_id: str
    address: str
    user_agent: str
    status: int
    reason: str
    refused_at: datetime
    occurrences: int = 1


def printable(text: str, limit: int) -> str:
    """A caller's text made safe to log: control characters escaped, keys left out, length bounded."""
    if "nz_" in text:
        text = _KEY_LIKE.sub("nz_...", text)
    if text.isascii() and text.isprintable():
        return text[:limit]
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text[:limit])[:limit]
