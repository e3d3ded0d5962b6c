"""One answer of the upstream as it arrives."""

import asyncio
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
        chunk = bytes(self.body)
        self.body.clear()
        if self._source is not None:
            self._source.resume_reading()
        return chunk

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

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def release(self) -> None:
        """The answer is complete: let go of the connection."""
        self._source = None
        self.wake()

    def fail(self, kind: type[httpx.TransportError], message: str) -> None:
        """The answer will never be complete."""
        self._source = None
        self._failure = (kind, message)
        self.wake()
