"""A TCP proxy before one real server, whose faults are switched while it runs."""

import asyncio
import contextlib
import random
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hiredis import ProtocolError, Reader

from tests.support.fault_proxy_connection import Asks, Connection, Counts, Direction, Faults, each_piece

__all__ = ["Direction", "FaultProxy", "each_piece", "redis_commands"]

_BACKLOG = 1024


def redis_commands() -> Asks:
    """Counts whole commands of Redis, or whole replies, since a pipeline brings several in one piece."""
    reader = Reader()

    def asks(data: bytes) -> int:
        reader.feed(data)
        count = 0
        with contextlib.suppress(ProtocolError):  # the fault came in the middle of a command: nothing to count
            while reader.gets() is not False:
                count += 1
        return count

    return asks


class FaultProxy:
    """Listens on a free port of 127.0.0.1; every fault holds for new connections as for running ones, until `heal`.

        async with FaultProxy("127.0.0.1", 6379) as proxy:  # or a path: FaultProxy("", "/run/postgres/.s.PGSQL.5432")
            proxy.hang()
            ...
            proxy.heal()

    Faults add up (`latency` with `bandwidth`), each call replacing its own former one. Nothing here is awaited.
    """

    def __init__(
        self,
        host: str,
        place: int | str | Path,
        *,
        dice: random.Random | None = None,
        messages: Callable[[], Asks] | None = None,
    ) -> None:
        """`messages` tells requests apart as well as replies: an `answer` then never comes before a real reply."""
        self._host, self._place, self._messages = host, place, messages
        self._dice = dice or random.Random(0)
        self._faults, self._counts = Faults(), Counts()
        self._running: set[Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._keeps_port: socket.socket | None = None
        self._listener: socket.socket | None = None

    async def __aenter__(self) -> Self:
        self._keeps_port = _bound(0)
        self._listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop_listening()
        self.reset()
        await asyncio.gather(*self._opening, return_exceptions=True)
        await asyncio.sleep(0)  # a transport closes its socket in the next turn of the loop
        if self._keeps_port is not None:
            self._keeps_port.close()

    # --- where it is, what it saw

    @property
    def port(self) -> int:
        assert self._keeps_port is not None, "the proxy has not been started"
        return int(self._keeps_port.getsockname()[1])

    @property
    def address(self) -> str:
        """Host and port, as they stand in a URL."""
        return f"127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        """How many were accepted so far."""
        return self._counts.connections

    @property
    def connections_open(self) -> int:
        return sum(connection.open for connection in self._running)

    @property
    def bytes_up(self) -> int:
        """How many bytes were handed to the server so far."""
        return self._counts.bytes_passed[Direction.UP]

    @property
    def bytes_down(self) -> int:
        return self._counts.bytes_passed[Direction.DOWN]

    # --- faults

    def refuse(self, *, keep_running: bool = False) -> None:
        """Refuse new connections; running ones are cut, as with a killed server, unless they are to be kept."""
        self._stop_listening()
        if not keep_running:
            self.cut()

    def hang(self, *, keep: bool = True) -> None:
        """Accept, pass nothing in either direction. What arrives is kept for later, or lost: then `heal` resets."""
        self._change(silent=frozenset(Direction), loses=not keep)

    def half_open(self, silent: Direction = Direction.DOWN, *, keep: bool = True) -> None:
        """One direction passes nothing, ends included; the other goes on."""
        self._change(silent=frozenset({silent}), loses=not keep)

    def latency(self, seconds: float, jitter_seconds: float = 0.0) -> None:
        """Every piece later by this, each direction, plus up to the jitter; the order of the bytes holds."""
        self._change(latency_seconds=seconds, jitter_seconds=jitter_seconds)

    def bandwidth(self, bytes_per_second: int) -> None:
        """No more than this, for each direction of each connection."""
        self._change(bytes_per_second=bytes_per_second)

    def limit(self, size_bytes: int, direction: Direction = Direction.DOWN, *, resets: bool = False) -> None:
        """Each connection ends after so many bytes from now on, by FIN or by RST."""
        self._change(limits={direction: size_bytes}, limit_resets=resets)

    def answer(self, reply: bytes, asks: Any = each_piece) -> None:
        """Each request gets this, the server none; `asks` tells requests apart, `redis_commands` for Redis."""
        self._change(reply=reply, asks=asks)

    def reset(self) -> None:
        """RST to all running connections; new ones are served."""
        for connection in self._forget():
            connection.reset()

    def cut(self) -> None:
        """FIN to all running connections; new ones are served."""
        for connection in self._forget():
            connection.cut()

    def heal(self) -> None:
        """Healthy again on the same port: what was kept passes, a connection that lost bytes is reset."""
        if self._listener is None:
            self._listen()
        self._apply(Faults())

    # --- within

    def _change(self, **changes: Any) -> None:
        self._apply(replace(self._faults, **changes))

    def _apply(self, faults: Faults) -> None:
        self._faults = faults
        for connection in tuple(self._running):
            connection.apply(faults)

    def _forget(self) -> set[Connection]:
        for task in self._opening:
            task.cancel()
        running, self._running = self._running, set()
        return running

    def _listen(self) -> None:
        self._listener = _bound(self.port)
        self._listener.listen(_BACKLOG)
        asyncio.get_running_loop().add_reader(self._listener, self._accept, self._listener)

    def _stop_listening(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            asyncio.get_running_loop().remove_reader(listener)
            listener.close()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionAbortedError):  # whoever knocked is gone again
            accepted, _ = listener.accept()
            accepted.setblocking(False)
            self._counts.connections += 1
            task = asyncio.get_running_loop().create_task(self._open(accepted))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open(self, accepted: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        connection = Connection(self._faults, self._counts, self._dice, self._messages)
        try:
            connection.far = await self._connect(connection)
            connection.near, _ = await loop.connect_accepted_socket(connection.near_end, accepted)
        except OSError:  # the server itself is away
            accepted.close()
            connection.cut()
            return
        except asyncio.CancelledError:
            accepted.close()
            connection.cut()
            raise
        self._running = {other for other in self._running if other.open} | {connection}
        connection.far.resume_reading()
        connection.apply(self._faults)  # which may have changed meanwhile

    async def _connect(self, connection: Connection) -> asyncio.Transport:
        loop = asyncio.get_running_loop()
        if isinstance(self._place, int):
            far, _ = await loop.create_connection(connection.far_end, self._host, self._place)
        else:
            far, _ = await loop.create_unix_connection(connection.far_end, str(self._place))
        return far


def _bound(port: int) -> socket.socket:
    """A bound socket: one keeps the port while nobody listens there, another listens."""
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.setblocking(False)
    bound.bind(("127.0.0.1", port))
    return bound
