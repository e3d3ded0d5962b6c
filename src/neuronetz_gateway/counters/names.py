"""What the keys of a tenant in Redis are called."""

from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID


class NamesOfKey(NamedTuple):
    """The names under which a key and its tenant are counted; `ended` lacks the id of an admission at its end."""

    rates_and_leases: tuple[str, str, str, str]
    ended: str
    warm: str


@dataclass(frozen=True, slots=True)
class KeyNames:
    """All keys of one tenant share a hash tag, so that Redis Cluster can serve later (DESIGN §4)."""

    prefix: str = "nz"

    def tenant(self, tenant_id: UUID) -> str:
        """What all its keys begin with."""
        return f"{self.prefix}:{{{tenant_id.hex}}}"

    def warm(self, tenant_id: UUID) -> str:
        """The sentinel: holds the run id of the server that knows this tenant."""
        return f"{self.tenant(tenant_id)}:warm"

    def rebuild(self, tenant_id: UUID) -> str:
        """The mark of the rebuild that is under way."""
        return f"{self.tenant(tenant_id)}:rebuild"

    def rates_and_leases(self, tenant_id: UUID, api_key_id: UUID) -> tuple[str, str, str, str]:
        """The tenant's rates, the key's, the tenant's leases, the key's."""
        tenant, key = self.tenant(tenant_id), api_key_id.hex
        return f"{tenant}:rates", f"{tenant}:rates:{key}", f"{tenant}:leases", f"{tenant}:leases:{key}"

    def of_key(self, tenant_id: UUID, api_key_id: UUID) -> "NamesOfKey":
        """All that an admission names, but for its own mark."""
        return NamesOfKey(
            self.rates_and_leases(tenant_id, api_key_id), f"{self.tenant(tenant_id)}:ended:", self.warm(tenant_id)
        )

    def ended(self, tenant_id: UUID, admission_id: UUID) -> str:
        """The mark of an admission whose end came before its beginning, or to a server that did not know the tenant."""
        return f"{self.tenant(tenant_id)}:ended:{admission_id.hex}"
