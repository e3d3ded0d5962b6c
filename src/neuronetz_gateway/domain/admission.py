"""The right to call now."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from neuronetz_gateway.domain.standing import Standing


class Admission(NamedTuple):
    """A place under the rate and concurrency limits of a key and its tenant, until closed.

    admitted_at is the time of Redis, the only clock that limits, windows and expiry read (DESIGN §4);
    estimated_tokens is what TPM holds until the actual figure is known. standing is what key and tenant have left
    with this request counted, None where neither limits requests or tokens a minute.
    """

    id: UUID
    tenant_id: UUID
    api_key_id: UUID
    admitted_at: datetime
    estimated_tokens: int
    standing: Standing | None = None
