"""Failed authentications, counted by address."""

from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address

_WINDOW_SECONDS = 60.0
_NETWORK_BITS = 64


class FailureCounter:
    """Counts failures of an address (IPv6: of its /64) in windows of a minute that its first failure opens.

    It is told of every failure, says whether the address has had more than its share, and decides nothing. At most
    `capacity` addresses are remembered, those that failed last. `clock` is monotonic, in seconds.
    """

    def __init__(self, *, per_minute: int, clock: Callable[[], float], capacity: int = 10_000) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._capacity = capacity
        self._windows: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def add(self, address: str) -> None:
        """Counts one failure."""
        scope = address_scope(address)
        opened, count = self._open_window(scope)
        self._windows[scope] = opened, count + 1
        self._windows.move_to_end(scope)
        if len(self._windows) > self._capacity:
            self._windows.popitem(last=False)

    def blocked_seconds(self, address: str) -> float:
        """For how long an address is blocked yet; 0 if it is not."""
        opened, count = self._open_window(address_scope(address))
        return opened + _WINDOW_SECONDS - self._clock() if count >= self._per_minute else 0.0

    def _open_window(self, scope: str) -> tuple[float, int]:
        now = self._clock()
        opened, count = self._windows.get(scope, (now, 0))
        return (opened, count) if now < opened + _WINDOW_SECONDS else (now, 0)


def address_scope(address: str) -> str:
    """The address that stands for all whom one caller has at hand: of IPv6 that of the /64."""
    if ":" not in address:
        return address
    try:
        parsed = ip_address(address)
    except ValueError:
        return address  # a Unix socket, or nothing known: one scope for all of them
    if not isinstance(parsed, IPv6Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(IPv6Address(int(parsed) >> _NETWORK_BITS << _NETWORK_BITS))
