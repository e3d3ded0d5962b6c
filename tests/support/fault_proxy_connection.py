"""One connection through a fault proxy, with the faults that hold for it."""

import asyncio
import random
import socket
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import cast

# More than this is not held for the other side: the sender then fills the buffers of the kernel, as with a real server.
HELD_BYTES = 256 * 1024
_SETTLED_SECONDS = 0.02  # without a byte of the server after its last reply
_PIECES_A_SECOND = 50  # into which bytes are sliced where their rate is bounded
_RESETS = struct.pack("ii", 1, 0)  # SO_LINGER: on, for no time


class Direction(StrEnum):
    UP = "up"  # towards the server
    DOWN = "down"  # towards whoever connected


# How many requests a piece of bytes completes; made once a connection, since it may remember half of one.
type Asks = Callable[[bytes], int]


def each_piece() -> Asks:
    """Every piece that arrives counts as one request."""
    return lambda _: 1


@dataclass(slots=True)
class Faults:
    """What holds now; of a healthy connection nothing."""

    silent: frozenset[Direction] = frozenset()
    loses: bool = False  # what is not passed on is gone, instead of kept
    latency_seconds: float = 0.0
    jitter_seconds: float = 0.0  # added to the latency, from nothing to this
    bytes_per_second: int = 0  # 0 = as they come
    limits: dict[Direction, int] = field(default_factory=dict)
    limit_resets: bool = False
    reply: bytes | None = None
    asks: Callable[[], Asks] = each_piece


@dataclass(slots=True)
class Counts:
    """What has passed, over all connections."""

    connections: int = 0
    bytes_passed: dict[Direction, int] = field(default_factory=lambda: dict.fromkeys(Direction, 0))


class Way:
    """The bytes of one direction, in order, each piece when it is due."""

    def __init__(self, direction: Direction, connection: "Connection") -> None:
        self._direction, self._connection = direction, connection
        self._held: deque[tuple[float, bytes | None]] = deque()  # b"" ends it, None breaks it
        self._held_bytes = 0
        self._last_due = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.full = False  # the receiver takes no more for the moment
        self.torn = False  # bytes of it were lost, which no receiver of TCP ever sees
        self.ended = False
        self.limit()

    @property
    def holds(self) -> bool:
        return bool(self._held)

    def limit(self) -> None:
        """Take the limit that holds now, counted from now."""
        self._allowance = self._connection.faults.limits.get(self._direction)

    def take(self, data: bytes | None) -> None:
        """What the sender sent."""
        faults = self._connection.faults
        if data and faults.reply is not None and self._direction is Direction.UP:
            self._connection.answer(data)
        elif self._direction in faults.silent and faults.loses:
            self.torn = True
        else:
            self._hold(data)
            self.pass_on()

    def pass_on(self) -> None:
        """Hand over what is due, as far as the faults allow it."""
        loop = asyncio.get_running_loop()
        while self._held and self._direction not in self._connection.faults.silent:
            due, data = self._held[0]
            if due > loop.time():
                if self._timer is None:
                    self._timer = loop.call_at(due, self._on_time)
                break
            self._held.popleft()
            self._held_bytes -= len(data or b"")
            self._deliver(data)
        self.regulate()

    def hurry(self) -> None:
        """Nothing waits for its time any more."""
        self._held = deque((0.0, data) for _, data in self._held)
        self._last_due = 0.0
        self.stop()
        self.pass_on()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def regulate(self) -> None:
        """Read from the sender only what there is room for."""
        sender = self._connection.sender(self._direction)
        if sender.is_closing() or self.ended:
            return
        if self.full or self._held_bytes > HELD_BYTES:
            sender.pause_reading()
        else:
            sender.resume_reading()

    def _on_time(self) -> None:
        self._timer = None
        self.pass_on()

    def _hold(self, data: bytes | None) -> None:
        faults = self._connection.faults
        now = asyncio.get_running_loop().time()
        due = 0.0
        if faults.latency_seconds or faults.jitter_seconds:
            due = now + faults.latency_seconds + self._connection.dice.random() * faults.jitter_seconds
        size = max(1, faults.bytes_per_second // _PIECES_A_SECOND) if faults.bytes_per_second else len(data or b"")
        pieces = [data[at : at + size] for at in range(0, len(data), size)] if data else [data]
        for piece in pieces:
            due = max(due, self._last_due)
            if faults.bytes_per_second:
                due = max(due, now) + len(piece or b"") / faults.bytes_per_second
            self._last_due = due
            self._held.append((due, piece))
            self._held_bytes += len(piece or b"")

    def _deliver(self, data: bytes | None) -> None:
        receiver = self._connection.receiver(self._direction)
        if data is None:
            self._connection.reset()
        elif not data:
            self.ended = True
            self._connection.half_ended(receiver)
        elif not receiver.is_closing():
            self._write(receiver, data)

    def _write(self, receiver: asyncio.Transport, data: bytes) -> None:
        if self._allowance is not None:
            data = data[: self._allowance]
            self._allowance -= len(data)
        receiver.write(data)
        self._connection.passed(self._direction, data)
        if self._allowance == 0:
            self._held.clear()
            self._connection.limit_reached()


class End(asyncio.Protocol):
    """One socket of the two: whoever connected, or the server."""

    def __init__(self, sends: Way, receives: Way, *, waits: bool) -> None:
        self._sends, self._receives, self._waits = sends, receives, waits

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self._waits:  # there is nobody yet who could read it
            cast("asyncio.Transport", transport).pause_reading()

    def data_received(self, data: bytes) -> None:
        self._sends.take(data)

    def eof_received(self) -> bool:
        self._sends.take(b"")
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            self._sends.take(None)

    def pause_writing(self) -> None:
        self._receives.full = True
        self._receives.regulate()

    def resume_writing(self) -> None:
        self._receives.full = False
        self._receives.regulate()


class Connection:
    """Both sockets with the two ways between them; `run` makes it, then it lives by its events."""

    def __init__(
        self, faults: Faults, counts: Counts, dice: random.Random, messages: Callable[[], Asks] | None
    ) -> None:
        self.faults, self.counts, self.dice = faults, counts, dice
        self._messages = {direction: messages() for direction in Direction} if messages else None
        self._unanswered = 0  # of the server's requests, where they can be told apart
        self._asks = faults.asks()
        self.ways = {direction: Way(direction, self) for direction in Direction}
        self._last_passed = Direction.DOWN
        self._owed: bytearray | None = None  # answers that wait until the server has given its own
        self._settling: asyncio.TimerHandle | None = None
        self.near: asyncio.Transport | None = None  # of whoever connected
        self.far: asyncio.Transport | None = None  # of the server

    def near_end(self) -> End:
        return End(self.ways[Direction.UP], self.ways[Direction.DOWN], waits=False)

    def far_end(self) -> End:
        return End(self.ways[Direction.DOWN], self.ways[Direction.UP], waits=True)

    def sender(self, direction: Direction) -> asyncio.Transport:
        return cast("asyncio.Transport", self.near if direction is Direction.UP else self.far)

    def receiver(self, direction: Direction) -> asyncio.Transport:
        return cast("asyncio.Transport", self.far if direction is Direction.UP else self.near)

    @property
    def open(self) -> bool:
        """Whether either end is: of a broken one the other may have to be told yet, once the faults allow it."""
        return any(end is not None and not end.is_closing() for end in (self.near, self.far))

    def passed(self, direction: Direction, data: bytes) -> None:
        """Takes note of bytes that were handed over."""
        self.counts.bytes_passed[direction] += len(data)
        self._last_passed = direction
        if self._messages is not None:
            count = self._messages[direction](data)
            self._unanswered = max(0, self._unanswered + (count if direction is Direction.UP else -count))
        if self._owed is not None and not self._unanswered:
            self._settle_soon()

    @property
    def _replying(self) -> bool:
        """Whether the server has a reply to give yet; guessed where messages cannot be told apart."""
        if self._messages is not None:
            return self._unanswered > 0
        return self._last_passed is Direction.UP or self.ways[Direction.DOWN].holds

    def answer(self, data: bytes) -> None:
        """In place of the server, but never before a reply of its own that is on its way: no server swaps them."""
        answers = (self.faults.reply or b"") * self._asks(data)
        if self._owed is not None:
            self._owed += answers
        elif self.near is not None and not self.near.is_closing():
            self.near.write(answers)

    def apply(self, faults: Faults) -> None:
        """Other faults hold from now on; a stream that has lost bytes cannot go on, so it is reset."""
        if faults.asks is not self.faults.asks or faults.reply != self.faults.reply:
            self._asks = faults.asks()
        if faults.reply is None and self._owed:
            self.reset()  # requests that nobody answered
            return
        if (faults.reply is None) != (self.faults.reply is None):
            self._stop_settling()
            self._owed = bytearray() if faults.reply is not None and self._replying else None
        limits_change = faults.limits != self.faults.limits
        self.faults = faults
        for way in self.ways.values():
            if limits_change:
                way.limit()
            if way.torn and not faults.loses:
                self.reset()
                return
            if not (faults.latency_seconds or faults.jitter_seconds or faults.bytes_per_second):
                way.hurry()
            else:
                way.pass_on()

    def half_ended(self, receiver: asyncio.Transport) -> None:
        if all(way.ended for way in self.ways.values()):
            self.cut()
        elif not receiver.is_closing() and receiver.can_write_eof():
            receiver.write_eof()

    def limit_reached(self) -> None:
        if self.faults.limit_resets:
            self.reset()
        else:
            self.cut()

    def cut(self) -> None:
        """FIN to both, after what was written."""
        for transport in self._leave():
            transport.close()

    def reset(self) -> None:
        """RST to both; a Unix socket knows no RST, so there it is an end without the rest."""
        for transport in self._leave():
            connected: socket.socket = transport.get_extra_info("socket")
            if not transport.is_closing() and connected.family != socket.AF_UNIX:
                connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESETS)
            transport.abort()

    def _settle_soon(self) -> None:
        self._stop_settling()
        self._settling = asyncio.get_running_loop().call_later(_SETTLED_SECONDS, self._settle)

    def _settle(self) -> None:
        owed, self._owed = self._owed, None
        if owed and self.near is not None and not self.near.is_closing():
            self.near.write(owed)

    def _stop_settling(self) -> None:
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None

    def _leave(self) -> list[asyncio.Transport]:
        for way in self.ways.values():
            way.stop()
        self._stop_settling()
        return [transport for transport in (self.near, self.far) if transport is not None]
