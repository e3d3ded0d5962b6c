"""The right to call now."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Admission:
    """A place under the rate and concurrency limits of a key and its tenant, until closed.

    admitted_at is the time of Redis, the only clock that limits, windows and expiry read (DESIGN §4);
    estimated_tokens is what TPM holds until the actual figure is known. remaining_* are None without a limit.
    """

    id: UUID
    tenant_id: UUID
    api_key_id: UUID
    admitted_at: datetime
    estimated_tokens: int
    remaining_requests: int | None = None
    remaining_tokens: int | None = None
