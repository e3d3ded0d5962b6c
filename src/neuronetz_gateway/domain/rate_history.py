"""What the rate limits of a tenant must hold, as the ledger remembers it."""

from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID


class Bucket(NamedTuple):
    """What requests of one key, admitted within one second of the epoch, count; the same place may come twice."""

    api_key_id: UUID
    second: int
    requests: int
    tokens: int


class OpenRequest(NamedTuple):
    """A request that holds a place."""

    id: UUID
    api_key_id: UUID


@dataclass(frozen=True, slots=True)
class RateHistory:
    """All that one tenant was admitted for and that counts yet; `open_requests` are in the buckets, too."""

    buckets: tuple[Bucket, ...]
    open_requests: tuple[OpenRequest, ...]


NO_HISTORY = RateHistory((), ())
