"""One open connection that carries many calls at once."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Self, cast, override

import redis.asyncio
from hiredis import ProtocolError, PushNotification, Reader, ReplyError

from neuronetz_gateway.counters.call import Call
from neuronetz_gateway.counters.server_facts import ServerFacts

_NOTHING = object()
# This server is no longer the one to talk to: a new connection may find its successor.
_MOVED_ON = ("READONLY", "MASTERDOWN")


class Link(asyncio.Protocol):
    """Writes calls and matches replies to them in order, without a task and without waiting.

    redis-py opens the connection (address, TLS, password, database), then its transport is taken over: measured at a
    quarter of the processor time of its pipelines, at half that of its connection objects with a single caller. A
    caller who leaves only leaves its future; its reply is read and dropped, so the order of replies cannot be lost.
    """

    def __init__(self, writer: asyncio.StreamWriter, facts: ServerFacts, on_lost: Callable[["Link"], None]) -> None:
        self._writer = writer  # closes its transport when collected, so it is kept
        self._transport = cast("asyncio.Transport", writer.transport)
        self._run_id = facts.run_id
        self._on_lost = on_lost
        self._reader = Reader(notEnoughData=_NOTHING)
        self._calls: deque[Call] = deque()
        self.heard = 0  # replies that came in time
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @classmethod
    async def open(
        cls, client: redis.asyncio.Redis, on_lost: Callable[["Link"], None], *, answer_within_seconds: float
    ) -> Self:
        """A connection as the client is configured, to a server that answers in time.

        Raises what redis-py raises, TimeoutError, EvictingStoreError, ReplicaStoreError, ValueError for a server that
        does not say who it is.
        """
        pool: Any = client.connection_pool  # redis-py leaves what is called here without annotations
        connection = pool.make_connection()
        try:
            await connection.connect()
            async with asyncio.timeout(answer_within_seconds):
                facts = await _facts(connection)
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        # redis-py has no public way to hand a connection over; its own __del__ would close it.
        writer: asyncio.StreamWriter = connection._writer  # noqa: SLF001 # see above
        connection._writer = connection._reader = None  # noqa: SLF001 # see above
        link = cls(writer, facts, on_lost)
        link._transport.set_protocol(link)
        if writer.transport.is_closing():
            raise ConnectionResetError("The connection was lost while it was opened.")
        return link

    def __len__(self) -> int:
        """How many calls wait for their reply."""
        return len(self._calls)

    def send(self, calls: Iterable[Call]) -> None:
        """Writes the calls at once; their replies come in the same order."""
        batch = []
        for call in calls:
            call.heard_before = self.heard
            self._calls.append(call)
            batch.append(call.packed(self._run_id))
        self._transport.write(b"".join(batch))

    def abort(self) -> None:
        """Closes at once; the calls under way fail, since whether they took effect is unknown."""
        self._transport.abort()

    @override
    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not _NOTHING:
                if not isinstance(reply, PushNotification):
                    self._take(reply)
        except (ProtocolError, IndexError) as error:  # garbage, or a reply that nobody asked for
            self._fail_all(error)
            self.abort()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._fail_all(exc or ConnectionResetError("Redis closed the connection."))
        if not self.closed.done():
            self.closed.set_result(None)
        self._on_lost(self)

    def _take(self, reply: object) -> None:
        call = self._calls.popleft()
        if call.future.cancelled() or not call.future.done():
            self.heard += 1  # in time: a server that is always too late is no better than one that is silent
        if not isinstance(reply, ReplyError):
            call.answer(reply)
        elif call.repeat_with_script(reply):
            self.send((call,))
        else:
            call.fail(reply)
            if str(reply).startswith(_MOVED_ON):
                self.abort()

    def _fail_all(self, cause: BaseException) -> None:
        calls, self._calls = self._calls, deque()
        for call in calls:
            call.fail(cause)


async def _facts(connection: Any) -> ServerFacts:
    sections = ("server", "memory", "replication")
    for section in sections:
        await connection.send_command("INFO", section, check_health=False)
    replies = [await connection.read_response() for _ in sections]
    return ServerFacts.read(
        b"\r\n".join(reply if isinstance(reply, bytes) else str(reply).encode() for reply in replies)
    )
