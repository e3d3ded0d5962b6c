"""Refusals that share rows of the audit log, counted until their minute is over."""

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from neuronetz_gateway.domain.audit import RefusalEvent
from neuronetz_gateway.services.failure_counting import address_scope

OTHER = "other"  # stands for the addresses of those past the most that are told apart
_MAY_DIFFER = ("endpoint", "model", "user_agent")


@dataclass(slots=True)
class _Shared:
    """A row to be: its first refusal, less what others did not have in common with it."""

    row: RefusalEvent
    common_address: str  # what is left of different addresses
    occurrences: int = 1

    def join(self, event: RefusalEvent) -> None:
        self.occurrences += 1
        row = self.row
        changes: dict[str, Any] = {
            name: "" for name in _MAY_DIFFER if (value := getattr(row, name)) and value != getattr(event, name)
        }
        if row.address not in {event.address, self.common_address}:
            changes["address"] = self.common_address
        if changes:
            self.row = replace(row, **changes)


class RefusalTally:
    """Who has had a row of its own often enough shares one with its like until the window is over (DESIGN §5).

    - Of a known key the first `rows_of_a_key` refusals of a window have rows of their own; further ones share one with
      those of the same key, endpoint, status and reason, at most `most_of_keys` such rows.
    - Without a principal those of the same address (IPv6: its /64) and reason share one, at most `most_of_addresses`.

    Past the most of either those with the same reason share one for `other`. A shared row has the id, the request id
    and the time of its first refusal; endpoint, model and user agent only where all have the same. Nothing is forgotten
    before `take`, so the memory is bounded by those two figures. Windows follow the clock that is handed in.
    """

    def __init__(
        self,
        *,
        rows_of_a_key: int,
        most_of_keys: int = 5_000,
        most_of_addresses: int = 1_000,
        window_seconds: float = 60.0,
    ) -> None:
        self._rows_of_a_key = rows_of_a_key
        self._most_of_keys = most_of_keys
        self._most_of_addresses = most_of_addresses
        self._window_seconds = window_seconds
        self._window: int | None = None
        self._rows_given: Counter[UUID] = Counter()
        self._of_keys: dict[Hashable, _Shared] = {}
        self._of_addresses: dict[Hashable, _Shared] = {}

    def __len__(self) -> int:
        """How many rows there will be."""
        return len(self._of_keys) + len(self._of_addresses)

    def is_over(self, now: datetime) -> bool:
        """Whether the window of what is held has ended: time to take it."""
        return self._window is not None and self._window != self._window_of(now)

    def seconds_left(self, now: datetime) -> float:
        """Until the window ends that `now` is in."""
        return self._window_seconds - now.timestamp() % self._window_seconds

    def grants_own_row(self, event: RefusalEvent) -> bool:
        """Whether a refusal is among those of its key that have rows of their own, one of which it then has had."""
        if event.api_key_id is None:
            return False
        self._begin(event.refused_at)
        given = self._rows_given[event.api_key_id]
        if given >= self._rows_of_a_key or (not given and len(self._rows_given) > self._most_of_keys):
            return False
        self._rows_given[event.api_key_id] = given + 1
        return True

    def add(self, event: RefusalEvent) -> None:
        """Counts a refusal in the row that it shares."""
        self._begin(event.refused_at)
        if event.api_key_id is not None:
            key = (event.api_key_id, event.endpoint, event.status, event.reason)
            _count(self._of_keys, key, event, common_address="", most=self._most_of_keys)
        else:
            scope = address_scope(event.address)
            network = f"{scope}/64" if ":" in scope else scope
            _count(
                self._of_addresses,
                (scope, event.reason),
                event,
                common_address=network,
                most=self._most_of_addresses,
            )

    def take(self) -> list[RefusalEvent]:
        """All shared rows, each once; the next refusal opens a new window."""
        rows = [*self._of_keys.values(), *self._of_addresses.values()]
        self._rows_given, self._of_keys, self._of_addresses, self._window = Counter(), {}, {}, None
        return [replace(shared.row, occurrences=shared.occurrences) for shared in rows]

    def _begin(self, now: datetime) -> None:
        if self._window is None:
            self._window = self._window_of(now)

    def _window_of(self, now: datetime) -> int:
        return int(now.timestamp() // self._window_seconds)


def _count(
    held: dict[Hashable, _Shared], key: Hashable, event: RefusalEvent, *, common_address: str, most: int
) -> None:
    shared = held.get(key)
    if shared is not None:
        shared.join(event)
    elif len(held) < most:
        held[key] = _Shared(event, common_address)
    else:
        _count_among_others(held, event)


def _count_among_others(held: dict[Hashable, _Shared], event: RefusalEvent) -> None:
    """A row a reason: reasons are the codes of errors and the names of limits, all of them ours."""
    shared = held.get(event.reason)
    if shared is None:
        nobody = replace(
            event, tenant_id=None, api_key_id=None, endpoint="", model="", request_id="", user_agent="", address=OTHER
        )
        held[event.reason] = _Shared(nobody, OTHER)
    else:
        shared.occurrences += 1
