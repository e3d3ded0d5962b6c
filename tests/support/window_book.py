"""A count of our own of what windows hold, beside the one in Redis."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from neuronetz_gateway.domain.principal import Principal
from neuronetz_gateway.domain.standing import AxisStanding, Standing, WindowUse


@dataclass(slots=True)
class Entry:
    """One admitted request; tokens are its estimate until it is closed."""

    second: int
    tenant_id: UUID
    api_key_id: UUID
    tokens: int
    open: bool = True


class WindowBook:
    """Every admission in a plain list; each question reads all of it."""

    def __init__(self, window_seconds: int) -> None:
        self.window_seconds = window_seconds
        self.entries: list[Entry] = []

    def admitted(self, principal: Principal, at: datetime, tokens: int) -> Entry:
        entry = Entry(int(at.timestamp()), principal.tenant_id, principal.api_key_id, tokens)
        self.entries.append(entry)
        return entry

    def closed(self, entry: Entry, actual_tokens: int | None) -> None:
        entry.open = False
        if actual_tokens is None:
            self.entries.remove(entry)
        else:
            entry.tokens = actual_tokens

    def use(self, principal: Principal, scope: str, at: datetime) -> WindowUse:
        """What a scope holds: a bucket of one second counts until window + 1 s after it began."""
        mine = [entry for entry in self.entries if _is_of(entry, principal, scope)]
        counted = [entry for entry in mine if entry.second >= int(at.timestamp()) - self.window_seconds]
        return WindowUse(
            requests=len(counted),
            requests_reset_seconds=self._reset(counted, at, lambda _: True),
            tokens=sum(entry.tokens for entry in counted),
            tokens_reset_seconds=self._reset(counted, at, lambda entry: entry.tokens > 0),
            concurrent=sum(entry.open for entry in mine),
        )

    def standing(self, principal: Principal, at: datetime, fired: str | None) -> Standing:
        """Of each axis the scope with the least left, the key's of equals; the scope that fired where one did."""
        of_key = self.use(principal, "key", at).held_against(principal.key_limits)
        of_tenant = self.use(principal, "tenant", at).held_against(principal.tenant_limits)
        requests, tokens = _tighter(of_key.rpm, of_tenant.rpm), _tighter(of_key.tpm, of_tenant.tpm)
        if fired in {"key.rpm", "tenant.rpm"}:
            requests = of_key.rpm if fired == "key.rpm" else of_tenant.rpm
        if fired in {"key.tpm", "tenant.tpm"}:
            tokens = of_key.tpm if fired == "key.tpm" else of_tenant.tpm
        return Standing(requests, tokens, at)

    def _reset(self, entries: list[Entry], at: datetime, counts: Callable[[Entry], bool]) -> float:
        seconds = [entry.second for entry in entries if counts(entry)]
        if not seconds:
            return 0.0
        ends_at = datetime.fromtimestamp(max(seconds) + self.window_seconds + 1, UTC)
        return (ends_at - at).total_seconds()


def _is_of(entry: Entry, principal: Principal, scope: str) -> bool:
    if scope == "tenant":
        return entry.tenant_id == principal.tenant_id
    return entry.api_key_id == principal.api_key_id


def _tighter(of_key: AxisStanding | None, of_tenant: AxisStanding | None) -> AxisStanding | None:
    if of_key is None or of_tenant is None:
        return of_key or of_tenant
    return of_tenant if of_tenant.left < of_key.left else of_key
