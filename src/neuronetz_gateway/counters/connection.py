"""Calls to Redis, batched by turns of the event loop, each with its own deadline."""

import asyncio
from collections import deque
from typing import Any

import redis.asyncio

from neuronetz_gateway.counters.call import Call, Part
from neuronetz_gateway.counters.errors import unavailable
from neuronetz_gateway.counters.link import Link
from neuronetz_gateway.counters.scripts import SCRIPTS, Script

# A connection that takes longer to open is given up; promise F1 allows 2 s until calls are served again.
_OPEN_SECONDS = 1.0
# More calls than this under way mean that Redis cannot keep up: further ones fail at once, so memory stays bounded.
_MAX_CALLS = 20_000


class BatchedRedis:
    """Sends what one turn of the event loop brings as one pipeline, over one multiplexed connection.

    Every call returns a future that yields the raw reply or raises CountersUnavailableError: after
    `timeout_seconds`, when Redis answers with an error, or when the connection breaks. No call is repeated unless it
    certainly had no effect. A lost connection is opened again by the next call; one that answers nothing while a
    call runs out of time is dropped. Futures may be cancelled freely.
    """

    def __init__(self, client: redis.asyncio.Redis, *, timeout_seconds: float) -> None:
        self._client = client
        self._timeout_seconds = timeout_seconds
        self._link: Link | None = None
        self._opening: asyncio.Task[Link] | None = None
        self._unsent: list[Call] = []
        self._waiting: deque[Call] = deque()  # in the order of their deadlines
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def call(self, *parts: Part) -> asyncio.Future[Any]:
        """Sends one command; text is sent as UTF-8, replies stay bytes."""
        return self._add(parts, None)

    def run(self, script: Script, keys: tuple[Part, ...], *args: Part) -> asyncio.Future[Any]:
        """Runs one Lua script by its digest; a server that does not know it yet is given it."""
        return self._add(("EVALSHA", script.sha, len(keys), *keys, *args), script.body)

    async def aclose(self) -> None:
        """Fails what is under way, closes the connection; later calls fail at once."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait((self._opening,))
        self._fail_unsent(None)
        if self._link is not None:
            link = self._link
            link.abort()
            await link.closed

    def _add(self, parts: tuple[Part, ...], script_body: bytes | None) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        call = Call(parts, script_body, future, loop.time() + self._timeout_seconds)
        if self._closed or len(self._unsent) + len(self._link or ()) >= _MAX_CALLS:
            future.set_exception(unavailable(None))
            return future
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
            self._link.send(call for call in calls if not call.future.done())
        elif self._opening is None and self._unsent:
            self._opening = asyncio.create_task(self._open(), name="redis-open")
            self._opening.add_done_callback(self._opened)

    async def _open(self) -> Link:
        async with asyncio.timeout(_OPEN_SECONDS):
            return await Link.open(self._client, self._lost)

    def _opened(self, opening: asyncio.Task[Link]) -> None:
        self._opening = None
        if opening.cancelled():
            return
        if (error := opening.exception()) is not None:
            self._fail_unsent(error)
            return
        self._link = opening.result()
        if self._closed:
            self._link.abort()
        else:
            self._teach(self._link)
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

    def _expire(self) -> None:
        """Fails the calls whose time is up; drops the connection if it has been silent since one of them was sent."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        silent = False
        while self._waiting and (self._waiting[0].future.done() or self._waiting[0].deadline <= now):
            call = self._waiting.popleft()
            if not call.future.done():
                call.fail(TimeoutError(f"No reply from Redis in {self._timeout_seconds} s."))
                silent = silent or (self._link is not None and call.heard_before == self._link.heard)
        self._timer = loop.call_at(self._waiting[0].deadline, self._expire) if self._waiting else None
        if silent and self._link is not None:
            self._link.abort()
            self._link = None

    def _fail_unsent(self, cause: BaseException | None) -> None:
        calls, self._unsent = self._unsent, []
        for call in calls:
            call.fail(cause)


def _forget(future: asyncio.Future[Any]) -> None:
    """Takes note of an outcome that changes nothing: a script that was not taught is taught when it is called."""
    if not future.cancelled():
        future.exception()
