"""A logged prompt, sealed."""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

LONGEST_SECONDS = 365 * 86_400


@dataclass(frozen=True, slots=True)
class Sealed:
    """A ciphertext with what opens it beside the key: the key's name, the nonce."""

    key_id: str
    nonce: bytes
    text: bytes


@dataclass(frozen=True, slots=True)
class PromptRecord:
    """The prompt of one admitted request; id is that of its audit row, prompt_bytes its whole length as it was sent."""

    id: UUID
    tenant_id: UUID
    api_key_id: UUID
    model: str
    endpoint: str
    request_id: str
    admitted_at: datetime
    expires_at: datetime
    prompt_bytes: int
    sealed: Sealed | None = field(default=None, repr=False)

    @property
    def context(self) -> bytes:
        """What the ciphertext is bound to: whose it is, how long it may be read."""
        parts = (self.id, self.tenant_id, self.api_key_id)
        return b"".join(part.bytes for part in parts) + str(int(self.expires_at.timestamp() * 1_000_000)).encode()
