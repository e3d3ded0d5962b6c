"""What must be equal at every moment: what budgets say was used, what the audit log says was charged."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class WindowSums:
    """The two sides of one budget window of one scope, in tokens.

    window_start is None for rows of which nothing tells in which window they were charged. key is a key's prefix, None
    where the scope is the tenant. requests counts the rows behind charged_tokens, corrections among them.
    """

    tenant_id: UUID
    tenant: str | None
    key_id: UUID | None
    key: str | None
    period: str
    window_start: datetime | None
    used_tokens: int
    charged_tokens: int
    carried_tokens: int  # charged by rows that retention has dropped
    reserved_tokens: int
    held_tokens: int  # by open reservations
    open: int
    oldest_open_at: datetime | None
    requests: int

    @property
    def used_difference(self) -> int:
        """Used without a row; below 0 where rows charge more than was used."""
        return self.used_tokens - self.charged_tokens - self.carried_tokens

    @property
    def reserved_difference(self) -> int:
        """Reserved without an open reservation; below 0 where those hold more than is reserved."""
        return self.reserved_tokens - self.held_tokens

    @property
    def is_balanced(self) -> bool:
        return self.used_difference == 0 and self.reserved_difference == 0


@dataclass(frozen=True, slots=True)
class TwiceWritten:
    """An id that ended twice: it has several rows, or one beside a reservation that is still open."""

    id: UUID
    rows: int
    is_open: bool
