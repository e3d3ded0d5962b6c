"""Calls to Redis, batched by turns of the event loop, each with its own deadline."""

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any

import redis.asyncio
import structlog

from neuronetz_gateway.counters.call import Call, Part
from neuronetz_gateway.counters.errors import unavailable
from neuronetz_gateway.counters.link import Link
from neuronetz_gateway.counters.scripts import SCRIPTS, Script

_log = structlog.get_logger(__name__)
# A connection that takes longer to open is given up; promise F1 allows 2 s until calls are served again.
_OPEN_SECONDS = 1.0
# More calls than this under way mean that Redis cannot keep up: further ones fail at once, so memory stays bounded.
_MAX_CALLS = 20_000


class BatchedRedis:
    """Sends what one turn of the event loop brings as one pipeline, over one multiplexed connection.

    Every call returns a future that yields the raw reply or raises CountersUnavailableError: after
    `timeout_seconds`, when Redis answers with an error, or when the connection breaks. No call is repeated unless it
    certainly had no effect. A lost connection is opened again by the next call. Where that fails, or a call ran out of
    time and nothing came in time since it was sent, Redis is given up: the connection is dropped, every call fails at
    once, and each `probe_seconds` it is tried whether Redis is back. Futures may be cancelled freely. `took` is told
    how many seconds calls take, of those under way at once of one alone.
    """

    def __init__(
        self,
        client: redis.asyncio.Redis,
        *,
        timeout_seconds: float,
        probe_seconds: float = 0.1,
        took: Callable[[float], None] = lambda _seconds: None,
    ) -> None:
        self._client = client
        self._timeout_seconds = timeout_seconds
        self._probe_seconds = probe_seconds
        self._took = took
        self._timed_since: float | None = None
        self._link: Link | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._given_up: BaseException | None = None  # why every call fails at once
        self._unsent: list[Call] = []
        self._waiting: deque[Call] = deque()  # in the order of their deadlines
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def call(self, *parts: Part) -> asyncio.Future[Any]:
        """Sends one command; text is sent as UTF-8, replies stay bytes."""
        return self._add(parts, None)

    def run(self, script: Script, keys: tuple[Part, ...], *args: Part) -> asyncio.Future[Any]:
        """Runs one Lua script by its digest; a server that does not know it yet is given it.

        After `args` the script gets the run id of the server that it is sent to.
        """
        return self._add(("EVALSHA", script.sha, len(keys), *keys, *args), script.body)

    async def aclose(self) -> None:
        """Fails what is under way, closes the connection; later calls fail at once."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait((self._connecting,))
        self._fail_unsent(None)
        if self._link is not None:
            link = self._link
            link.abort()
            await link.closed

    def _add(self, parts: tuple[Part, ...], script_body: bytes | None) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        if self._closed or self._given_up is not None or len(self._unsent) + len(self._link or ()) >= _MAX_CALLS:
            future.set_exception(unavailable(self._given_up))
            return future
        call = Call(parts, script_body, future, loop.time() + self._timeout_seconds)
        if not self._unsent:
            loop.call_soon(self._flush)
        self._unsent.append(call)
        self._waiting.append(call)
        if self._timer is None:
            self._timer = loop.call_at(call.deadline, self._expire)
        return future

    def _flush(self) -> None:
        if self._closed:
            return
        if self._link is not None:
            calls, self._unsent = self._unsent, []
            if calls and self._timed_since is None:
                self._timed_since = monotonic()
                calls[0].future.add_done_callback(self._timed)
            self._link.send(call for call in calls if not call.future.done())
        elif self._unsent:
            self._connect()

    def _timed(self, future: asyncio.Future[Any]) -> None:
        began, self._timed_since = self._timed_since, None
        if began is not None and not future.cancelled():
            self._took(monotonic() - began)

    def _connect(self) -> None:
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._until_connected(), name="redis-connect")

    async def _until_connected(self) -> None:
        try:
            while True:
                try:
                    link = await self._open()
                except Exception as error:  # noqa: BLE001 - whatever it is, calls fail of it and the next try comes
                    self._give_up(error)
                    await asyncio.sleep(self._probe_seconds)
                else:
                    break
        finally:
            self._connecting = None
        self._serve(link)

    async def _open(self) -> Link:
        async with asyncio.timeout(_OPEN_SECONDS):
            return await Link.open(self._client, self._lost, answer_within_seconds=self._timeout_seconds)

    def _serve(self, link: Link) -> None:
        if self._given_up is not None:
            self._given_up = None
            _log.warning("redis_is_back")
        self._link = link
        self._teach(link)
        self._flush()

    def _teach(self, link: Link) -> None:
        """Gives a new connection's server the scripts first, since a call repeated for its script loses its turn."""
        loop = asyncio.get_running_loop()
        for script in SCRIPTS:
            learnt: asyncio.Future[Any] = loop.create_future()
            learnt.add_done_callback(_forget)
            link.send((Call(("SCRIPT", "LOAD", script.body), None, learnt, loop.time()),))

    def _lost(self, link: Link) -> None:
        if self._link is link:
            self._link = None

    def _give_up(self, cause: BaseException) -> None:
        if self._given_up is None:
            _log.warning("redis_given_up", cause=type(cause).__name__)
        self._given_up = cause
        self._fail_unsent(cause)

    def _expire(self) -> None:
        """Fails the calls whose time is up; gives Redis up where no reply came in time since one of them was sent."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        heard = -1 if self._link is None else self._link.heard
        late: TimeoutError | None = None
        while self._waiting and (self._waiting[0].future.done() or self._waiting[0].deadline <= now):
            call = self._waiting.popleft()
            if not call.future.done():
                error = TimeoutError(f"No reply from Redis in {self._timeout_seconds} s.")
                call.fail(error)
                late = error if call.heard_before == heard else late
        self._timer = loop.call_at(self._waiting[0].deadline, self._expire) if self._waiting else None
        if late is not None:
            link, self._link = self._link, None
            if link is not None:
                link.abort()
            self._give_up(late)
            self._connect()

    def _fail_unsent(self, cause: BaseException | None) -> None:
        calls, self._unsent = self._unsent, []
        for call in calls:
            call.fail(cause)


def _forget(future: asyncio.Future[Any]) -> None:
    """Takes note of an outcome that changes nothing: a script that was not taught is taught when it is called."""
    if not future.cancelled():
        future.exception()
