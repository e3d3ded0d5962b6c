"""A dictionary that forgets: what is old, then what was not asked for."""

from collections import OrderedDict
from collections.abc import Callable


class BoundedMemory[V]:
    """Holds up to `capacity` values by name for `ttl_seconds` each, dropping those unused for longest first.

    `clock` is monotonic, in seconds. A name is always a keyed digest of a whole key, never a prefix (DESIGN §3).
    """

    def __init__(self, *, capacity: int, ttl_seconds: float, clock: Callable[[], float]) -> None:
        self._capacity = capacity
        self._ttl_seconds = ttl_seconds
        self._clock = clock
        self._entries: OrderedDict[bytes, tuple[V, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, name: bytes) -> V | None:
        entry = self._entries.get(name)
        if entry is None:
            return None
        value, until = entry
        if self._clock() >= until:
            del self._entries[name]
            return None
        self._entries.move_to_end(name)
        return value

    def keep(self, name: bytes, value: V) -> None:
        self._entries[name] = value, self._clock() + self._ttl_seconds
        self._entries.move_to_end(name)
        if len(self._entries) > self._capacity:
            self._entries.popitem(last=False)

    def forget(self, name: bytes) -> None:
        self._entries.pop(name, None)
