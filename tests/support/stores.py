"""Where the real stores of a test are."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg


class Kept:
    """A connection for the looks of one test, in its loop: opening one costs as much as a dozen of them."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection: asyncpg.Connection | None = None
        self._busy = False

    @property
    def free(self) -> bool:
        """Whether it may be asked: nobody else does, in the loop that it belongs to."""
        return not self._busy and asyncio.get_running_loop() is self._loop

    @asynccontextmanager
    async def at(self, dsn: str) -> AsyncIterator[Any]:
        """The connection; whoever leaves with an error leaves none behind, since it may be half-way through."""
        self._busy = True
        try:
            if self._connection is None or self._connection.is_closed():
                self._connection = await asyncpg.connect(dsn)
            yield self._connection
        except BaseException:
            if self._connection is not None:
                self._connection.terminate()
                self._connection = None
            raise
        finally:
            self._busy = False

    async def aclose(self) -> None:
        if self._connection is not None:
            await self._connection.close()


@dataclass(frozen=True, slots=True)
class Stores:
    database_url: str
    redis_url: str
    kept: Kept | None = field(default=None, compare=False, repr=False)

    async def fetch(self, query: str, *arguments: object) -> list[dict[str, Any]]:
        """Look into the database past the gateway: what it holds is the witness, not what the gateway says."""
        async with self._looking() as connection:
            return [dict(row) for row in await connection.fetch(query, *arguments)]

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        """Another writer's transaction, committed on leaving."""
        async with self._connected() as connection, connection.transaction():
            yield connection

    async def execute(self, statement: str, *arguments: object) -> None:
        async with self._connected() as connection:
            await connection.execute(statement, *arguments)

    @asynccontextmanager
    async def _looking(self) -> AsyncIterator[Any]:
        dsn = asyncpg_dsn(self.database_url)
        opened = self.kept.at(dsn) if self.kept is not None and self.kept.free else self._connected()
        async with opened as connection:
            yield connection

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Any]:
        connection = await asyncpg.connect(asyncpg_dsn(self.database_url))
        try:
            yield connection
        finally:
            await connection.close()


def asyncpg_dsn(url: str) -> str:
    return url.replace("postgresql+asyncpg://", "postgresql://", 1)
