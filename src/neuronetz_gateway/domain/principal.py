"""Who is calling, with everything that its tenant and its key allow."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from neuronetz_gateway.domain.limit import Limits
from neuronetz_gateway.domain.request_policy import KeyPolicy


@dataclass(frozen=True, slots=True)
class Principal:
    """A verified key flattened with its tenant; the versions let the ledger tell when it is stale (DESIGN §3).

    may_load_models is the key's own: whether an empty prompt of it loads or unloads a model (OLLAMA §1.1). So is
    prompt_log_seconds: for how long its prompts are kept, sealed; None does not keep them at all.
    policy is what the key has of its own. allowed_networks None is anywhere; they are canonical, one text a network.
    """

    tenant_id: UUID
    tenant_name: str
    tenant_version: int
    api_key_id: UUID
    key_prefix: str
    key_name: str
    key_version: int
    tenant_limits: Limits
    key_limits: Limits
    allow_all_models: bool
    allowed_models: frozenset[str]
    time_zone: str
    expires_at: datetime | None
    may_load_models: bool = False
    prompt_log_seconds: int | None = None
    policy: KeyPolicy | None = None
    allowed_networks: tuple[str, ...] | None = None

    @property
    def limits(self) -> Limits:
        """The limits that bind one request: the smaller of key's and tenant's on every axis."""
        return self.tenant_limits.narrowed_by(self.key_limits)

    def allows(self, model: str) -> bool:
        """Whether a canonical model name may be used."""
        return self.allow_all_models or model in self.allowed_models


def effective_models(
    *, tenant_allows_all: bool, tenant_models: frozenset[str], key_models: frozenset[str] | None
) -> tuple[bool, frozenset[str]]:
    """Whether all models are allowed, else which: lists intersect, None inherits, an empty list denies."""
    if key_models is None:
        return tenant_allows_all, frozenset() if tenant_allows_all else tenant_models
    return False, key_models if tenant_allows_all else key_models & tenant_models
