"""Where the real stores of a test are."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg


@dataclass(frozen=True, slots=True)
class Stores:
    database_url: str
    redis_url: str

    async def fetch(self, query: str, *arguments: object) -> list[dict[str, Any]]:
        """Look into the database past the gateway: what it holds is the witness, not what the gateway says."""
        connection = await asyncpg.connect(asyncpg_dsn(self.database_url))
        try:
            return [dict(row) for row in await connection.fetch(query, *arguments)]
        finally:
            await connection.close()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        """Another writer's transaction, committed on leaving."""
        connection = await asyncpg.connect(asyncpg_dsn(self.database_url))
        try:
            async with connection.transaction():
                yield connection
        finally:
            await connection.close()

    async def execute(self, statement: str, *arguments: object) -> None:
        connection = await asyncpg.connect(asyncpg_dsn(self.database_url))
        try:
            await connection.execute(statement, *arguments)
        finally:
            await connection.close()


def asyncpg_dsn(url: str) -> str:
    return url.replace("postgresql+asyncpg://", "postgresql://", 1)
