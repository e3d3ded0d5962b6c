"""Who owns keys."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from neuronetz_gateway.domain.limit import Limits


class TenantStatus(StrEnum):
    ACTIVE = "active"
    SUSPENDED = "suspended"


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant: its limits and models cap all its keys together; its time zone (IANA name) sets its budget windows."""

    id: UUID
    name: str
    status: TenantStatus
    time_zone: str
    allow_all_models: bool
    allowed_models: frozenset[str]
    limits: Limits
    version: int
    created_at: datetime
