"""Long reads beside the ledger: one moment of the whole database, nothing written."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import NullPool
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from neuronetz_gateway.db.connecting import connector
from neuronetz_gateway.errors import UnavailableError


class ReportingDatabase:
    """A connection of its own a report, without the time-outs that short statements have.

    A report that stands still for `idle_seconds` (a pager that nobody closes) is ended by Postgres, which cannot clean
    up behind it meanwhile.
    """

    def __init__(self, url: str, *, connect_timeout_seconds: float, idle_seconds: float = 600.0) -> None:
        self._engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=connector(
                url,
                connect_timeout_seconds=connect_timeout_seconds,
                server_settings={
                    "application_name": "neuronetz-gateway report",
                    "timezone": "UTC",
                    "statement_timeout": "0",
                    "idle_in_transaction_session_timeout": f"{idle_seconds * 1000:.0f}",
                },
            ),
            poolclass=NullPool,
            isolation_level="REPEATABLE READ",
            hide_parameters=True,
        )

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncConnection]:
        """A read-only transaction that sees what was committed when it began, all of it from the same moment.

        Raises UnavailableError where the database is away or ends the report.
        """
        try:
            async with self._engine.connect() as connection:
                await connection.execution_options(postgresql_readonly=True)
                yield connection
                await connection.rollback()
        except (DBAPIError, OSError, TimeoutError) as error:
            raise UnavailableError("The database is not available.") from error
