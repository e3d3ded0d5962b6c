"""A server that sends back what it gets, with callers who ask it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

QUIET_SECONDS = 0.1


class Echo:
    """A server that sends back what it gets; what it got is kept."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.ended = 0
        self.broken = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 16):
                self.received += data
                writer.write(data)
                await writer.drain()
            self.ended += 1
        except ConnectionError:
            self.broken += 1
        finally:
            writer.close()


class Caller:
    """One connection to the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer

    async def asks(self, data: bytes) -> bytes:
        self.writer.write(data)
        return await self.hears(len(data))

    async def hears(self, size: int) -> bytes:
        async with asyncio.timeout(5):
            return await self._reader.readexactly(size)

    async def hears_nothing(self) -> bool:
        try:
            async with asyncio.timeout(QUIET_SECONDS):
                await self._reader.read(1)
        except TimeoutError:
            return True
        return False

    async def rest(self) -> bytes:
        async with asyncio.timeout(5):
            return await self._reader.read()


@asynccontextmanager
async def listening(echo: Echo) -> AsyncIterator[int]:
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
