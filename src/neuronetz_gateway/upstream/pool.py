"""The connections that are open to the upstream."""

from collections import defaultdict

from neuronetz_gateway.upstream.connection import Connection
from neuronetz_gateway.upstream.request import Origin


class Pool:
    """Lends the idle connection that was used last, so that the surplus of a burst grows old enough to expire.

    Every method is synchronous: no cancel can come between a connection and its book-keeping.
    """

    def __init__(self, max_idle_connections: int) -> None:
        self._max_idle_connections = max_idle_connections
        self._open: set[Connection] = set()
        self._idle: defaultdict[Origin, dict[Connection, None]] = defaultdict(dict)  # as ordered sets
        self._idle_count = 0
        self._closed = False

    @property
    def open_connections(self) -> int:
        return len(self._open)

    @property
    def idle_connections(self) -> int:
        return self._idle_count

    @property
    def closed(self) -> bool:
        return self._closed

    def take(self, origin: Origin) -> Connection | None:
        """An idle connection to this origin that is not known to be stale, if there is one."""
        idle = self._idle[origin]
        while idle:
            connection, _ = idle.popitem()
            self._idle_count -= 1
            if connection.usable:
                return connection
            connection.abort()
        return None

    def opened(self, connection: Connection) -> None:
        self._open.add(connection)

    def idle(self, connection: Connection) -> None:
        """Keep a connection whose exchange ended cleanly, or close it if enough of them are kept."""
        if self._closed or self._idle_count >= self._max_idle_connections:
            connection.abort()
        else:
            self._idle[connection.origin][connection] = None
            self._idle_count += 1

    def unusable(self, connection: Connection) -> None:
        """Lend it no more; it counts as open until its socket is closed."""
        idle = self._idle[connection.origin]
        if connection in idle:
            del idle[connection]
            self._idle_count -= 1

    def lost(self, connection: Connection) -> None:
        self._open.discard(connection)

    def close(self) -> None:
        """Abort everything, what is in use included."""
        self._closed = True
        for connection in tuple(self._open):
            connection.abort()
