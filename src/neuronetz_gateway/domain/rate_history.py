"""What the rate limits of a tenant must hold, as the ledger remembers it."""

from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID


class Bucket(NamedTuple):
    """What requests of one key have consumed that were admitted within one second of the epoch, and have ended."""

    api_key_id: UUID
    second: int
    requests: int
    tokens: int


class OpenRequest(NamedTuple):
    """A request under way: it holds a place, its estimate, and counts in the second in which it was admitted."""

    id: UUID
    api_key_id: UUID
    second: int
    estimated_tokens: int


@dataclass(frozen=True, slots=True)
class RateHistory:
    """All that one tenant was admitted for and that counts yet."""

    buckets: tuple[Bucket, ...]
    open_requests: tuple[OpenRequest, ...]


NO_HISTORY = RateHistory((), ())
