"""One answer of the upstream as it arrives."""

import asyncio
from collections.abc import Callable
from typing import Protocol

import httpx


class Source(Protocol):
    """What a reply needs of the connection that it arrives on."""

    def abort(self) -> None: ...
    def resume_reading(self) -> None: ...


class Reply(httpx.AsyncByteStream):
    """The head, then the body as an async iterator of whatever has arrived since the last look.

    `abort` is synchronous, may be called at any time, any number of times, also after the end, where it does nothing:
    whoever holds a reply calls it (or `aclose`) in a `finally`. A wait that is cancelled aborts by itself. One task at
    a time may wait. After the last byte the reply no longer needs its connection, which is then in the pool again.
    """

    __slots__ = (
        "_failure",
        "_source",
        "_stopped",
        "_take",
        "_waiter",
        "body",
        "complete",
        "ends_with_connection",
        "headers",
        "reusable",
        "status",
    )

    def __init__(self, source: Source) -> None:
        self._source: Source | None = source
        self._waiter: asyncio.Future[None] | None = None
        self._failure: tuple[type[httpx.TransportError], str] | None = None
        self._take: Callable[[bytes], bool] | None = None  # while whoever waits has left it to a function
        self._stopped = False
        self.status = 0  # 0 until the head is complete
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = bytearray()
        self.complete = False
        self.ends_with_connection = False
        self.reusable = False

    def __aiter__(self) -> "Reply":
        return self

    async def __anext__(self) -> bytes:
        """The next bytes of the body, never empty.

        Raises httpx.ReadTimeout, ReadError or RemoteProtocolError where the body breaks off, after all that had arrived
        has been handed over: a broken body never ends like a whole one.
        """
        while not self.body:
            if self.complete:
                raise StopAsyncIteration
            await self.changed()
        return self._taken()

    async def hand_to(self, take: Callable[[bytes], bool]) -> bool:
        """Hand the body on, each piece within the very call that brings it: no task is woken for it.

        True at the end of the body. False once `take` has given False, which has the piece all the same: the rest waits
        here until this is called again. Raises what `take` raises, and as __anext__ does.
        """
        self._stopped = False
        while not self._stopped:
            if self.body:
                self._stopped = not take(self._taken())
            elif self.complete:
                return True
            else:
                self._take = take
                try:
                    await self.changed()
                except httpx.TransportError:
                    if not self._stopped:  # else it is told by the next call: what came before it comes first
                        raise
                finally:
                    self._take = None
        return False

    async def aclose(self) -> None:
        self.abort()

    def abort(self) -> None:
        """Close the connection unless the answer is complete."""
        if self._source is not None:
            self._source.abort()

    async def changed(self) -> None:
        """Wait until something has happened; raises the failure, if that is what happened."""
        if self._failure is None:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            except asyncio.CancelledError:
                self.abort()
                raise
            finally:
                self._waiter = None
        if self._failure is not None and not self.body:
            kind, message = self._failure
            raise kind(message)

    def arrived(self, *, at_once: bool = True) -> None:
        """The head is complete, or the body has grown; not `at_once` leaves it to the next turn of the event loop."""
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        if self._take is not None and at_once:
            try:
                self._stopped = not self._take(self._taken())
            except Exception as error:  # noqa: BLE001 - raised where it is waited for: the connection is not at fault
                waiter.set_exception(error)
                return
            if not self._stopped:
                return
        waiter.set_result(None)

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _taken(self) -> bytes:
        piece = bytes(self.body)
        self.body.clear()
        if self._source is not None:
            self._source.resume_reading()
        return piece

    def release(self) -> None:
        """The answer is complete: let go of the connection."""
        self._source = None
        self.wake()

    def fail(self, kind: type[httpx.TransportError], message: str) -> None:
        """The answer will never be complete."""
        self._source = None
        self._failure = (kind, message)
        self.wake()
