"""The way to Postgres: pooled transactions for management, links of their own for the ledger."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from neuronetz_gateway.db.connecting import connector
from neuronetz_gateway.db.link import Link
from neuronetz_gateway.errors import UnavailableError

# Past the server's own statement time-out the server must be hanging; only then is a connection given up.
_HANGING_AFTER_SECONDS = 0.5


class Database:
    """One Postgres database; connects at the first use, again after an outage.

    The time-outs bound connecting, a statement on the server, the wait for a row lock.
    """

    def __init__(
        self,
        url: str,
        *,
        pool_size: int,
        connect_timeout_seconds: float,
        statement_timeout_seconds: float,
        lock_timeout_seconds: float,
    ) -> None:
        self._url = url
        self._connect_timeout_seconds = connect_timeout_seconds
        self._call_timeout_seconds = statement_timeout_seconds + _HANGING_AFTER_SECONDS
        self._server_settings = {
            "statement_timeout": f"{statement_timeout_seconds * 1000:.0f}",
            "lock_timeout": f"{lock_timeout_seconds * 1000:.0f}",
            "timezone": "UTC",
            "jit": "off",  # the ledger's statements are short; compiling one costs more than running it
        }
        self._links: list[Link] = []
        self._engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=connector(
                url,
                connect_timeout_seconds=connect_timeout_seconds,
                command_timeout_seconds=self._call_timeout_seconds,
                server_settings=self._server_settings | {"application_name": "neuronetz-gateway"},
            ),
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=connect_timeout_seconds,
            pool_pre_ping=True,  # one round trip, so that an outage that is over costs nobody a request
            hide_parameters=True,  # hashes and digests are parameters, and errors are logged
        )

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """A connection in a transaction: commits on leaving, rolls back on an error.

        Raises UnavailableError where the database is away, does not answer in time or refuses the statement.
        """
        try:
            async with self._engine.begin() as connection:
                yield connection
        except (DBAPIError, PoolTimeoutError, OSError, TimeoutError) as error:
            raise UnavailableError("The database is not available.") from error

    def link(self, purpose: str) -> Link:
        """A connection beside the pool, closed with this database."""
        link = Link(
            self._url,
            purpose,
            connect_timeout_seconds=self._connect_timeout_seconds,
            call_timeout_seconds=self._call_timeout_seconds,
            server_settings=self._server_settings,
        )
        self._links.append(link)
        return link

    async def ping(self) -> None:
        """Returns when the database answers; raises UnavailableError where it does not."""
        async with self.begin() as connection:
            await connection.execute(text("select 1"))

    async def aclose(self) -> None:
        for link in self._links:
            await link.aclose()
        await self._engine.dispose()
