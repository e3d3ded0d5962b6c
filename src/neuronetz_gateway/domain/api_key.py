"""A credential of a tenant, without its secret."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from neuronetz_gateway.domain.limit import Limits
from neuronetz_gateway.domain.request_policy import KeyPolicy

PREFIX_LENGTH = 12
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SHAPE = re.compile(r"nz_[0-9A-Za-z]{41}", re.ASCII)


@dataclass(frozen=True, slots=True)
class PlainKey:
    """A whole key as its caller holds it; it never shows itself in a repr, a log or an error."""

    value: str = field(repr=False)

    @property
    def prefix(self) -> str:
        """The first 12 characters, by which a key is stored, listed and named."""
        return self.value[:PREFIX_LENGTH]

    @classmethod
    def parse(cls, text: str) -> "PlainKey | None":
        """The key that a text is, or None where it has not the shape of one."""
        return cls(text) if _SHAPE.fullmatch(text) else None

    @classmethod
    def issue(cls, choice: Callable[[str], str]) -> "PlainKey":
        """A new key: `nz_`, 9 characters that complete the prefix, 32 secret ones (base62, about 190 secret bits)."""
        return cls("nz_" + "".join(choice(_ALPHABET) for _ in range(41)))


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as operators see it. allowed_models None inherits the tenant's, an empty set denies.

    may_load_models lets it load or unload the models that it may use, which it does for all tenants at once.
    prompt_log_seconds is for how long its prompts are kept, None for not at all.
    policy is what it may ask for other than the settings say. allowed_networks are where it may be used from, as
    canonical texts; None is anywhere, none is nowhere.
    """

    id: UUID
    tenant_id: UUID
    name: str
    prefix: str
    limits: Limits
    allowed_models: frozenset[str] | None
    may_load_models: bool
    expires_at: datetime | None
    revoked_at: datetime | None
    created_at: datetime
    version: int
    prompt_log_seconds: int | None = None
    last_used_at: datetime | None = None
    policy: KeyPolicy | None = None
    allowed_networks: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class KeyCredential:
    """What a key is verified against: the keyed digest first, then Argon2id (DESIGN §3)."""

    api_key_id: UUID
    secret_hash: str = field(repr=False)
    digest: bytes = field(repr=False)
    pepper_id: str
    proven_at: datetime | None
