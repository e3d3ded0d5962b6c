"""The way to Postgres: pooled transactions for management, links of their own for the ledger."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any
from weakref import WeakSet

import asyncpg
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from neuronetz_gateway.db.breaker import Breaker
from neuronetz_gateway.db.connecting import Connector, Session, cancellations, connector, end_if_cancelled
from neuronetz_gateway.db.link import Link
from neuronetz_gateway.errors import UnavailableError

# Past the server's own statement time-out the server must be hanging; only then is a connection given up.
_HANGING_AFTER_SECONDS = 0.5
_AWAY = (DBAPIError, PoolTimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError)
_WAITING_SHARE = (
    0.75  # of the time to have a connection, for one that others use: before it looks like a server that hangs
)


class Database:
    """One Postgres database; connects at the first use, again after an outage.

    The time-outs bound having a connection, a statement on the server, the wait for a row lock; `patience_seconds` is
    how long somebody who waits for an answer is kept waiting.
    """

    def __init__(
        self,
        url: str,
        *,
        pool_size: int,
        connect_timeout_seconds: float,
        statement_timeout_seconds: float,
        lock_timeout_seconds: float,
        patience_seconds: float = 0.9,
    ) -> None:
        self._url = url
        self._patience_seconds = patience_seconds
        self._connect_timeout_seconds = connect_timeout_seconds
        self._call_timeout_seconds = statement_timeout_seconds + _HANGING_AFTER_SECONDS
        self._server_settings = {
            "statement_timeout": f"{statement_timeout_seconds * 1000:.0f}",
            "lock_timeout": f"{lock_timeout_seconds * 1000:.0f}",
            "timezone": "UTC",
            "jit": "off",  # the ledger's statements are short; compiling one costs more than running it
        }
        self._links: list[Link] = []
        self._breakers: list[Breaker] = []
        self._sessions: WeakSet[Session] = WeakSet()
        self._new_sessions: dict[asyncio.Task[Any] | None, Session] = {}
        self._engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=self._remembered(
                connector(
                    url,
                    connect_timeout_seconds=connect_timeout_seconds,
                    command_timeout_seconds=self._call_timeout_seconds,
                    server_settings=self._server_settings | {"application_name": "neuronetz-gateway"},
                )
            ),
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=connect_timeout_seconds * _WAITING_SHARE,
            pool_pre_ping=True,  # one round trip, so that an outage that is over costs nobody a request
            hide_parameters=True,  # hashes and digests are parameters, and errors are logged
        )

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """A connection in a transaction: commits on leaving, rolls back on an error.

        Raises UnavailableError where the database is away, does not answer in time or refuses the statement.
        """
        cancelled_before = cancellations()
        try:
            async with AsyncExitStack() as transaction:
                async with asyncio.timeout(self._connect_timeout_seconds) as having:
                    with self._no_orphan():
                        connection = await transaction.enter_async_context(self._engine.begin())
                end_if_cancelled(cancelled_before)
                yield connection
        except Exception as error:
            end_if_cancelled(cancelled_before)
            if not isinstance(error, _AWAY):
                raise
            if isinstance(error, TimeoutError) or having.expired():
                self._give_up_sessions()
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

    def breaker(self, purpose: str, probe: Callable[[], Awaitable[object]] | None = None) -> Breaker:
        """One that says whether a call for this purpose is worth trying, closed with this database.

        Without a probe of its own it pings.
        """
        breaker = Breaker(probe or self.ping, name=purpose, patience_seconds=self._patience_seconds)
        self._breakers.append(breaker)
        return breaker

    @property
    def given_up(self) -> bool:
        """Whether requests are refused for want of this database."""
        return any(breaker.open for breaker in self._breakers)

    async def ping(self) -> None:
        """Returns when the database answers; raises UnavailableError where it does not, in time."""
        try:
            async with asyncio.timeout(self._patience_seconds), self.begin() as connection:
                await connection.execute(text("select 1"))
        except TimeoutError as error:
            raise UnavailableError("The database is not available.") from error

    async def aclose(self) -> None:
        for breaker in self._breakers:
            await breaker.aclose()
        await asyncio.gather(*(link.aclose() for link in self._links))
        try:
            async with asyncio.timeout(self._connect_timeout_seconds):
                await self._engine.dispose()
        except TimeoutError:
            pass  # a server that hangs hears no goodbye
        self._give_up_sessions()  # nor does the pool see whoever was cancelled a moment ago, with a session in hand

    def _remembered(self, connect: Connector) -> Connector:
        async def remembered() -> Session:
            session = await connect()
            self._sessions.add(session)
            self._new_sessions[asyncio.current_task()] = session
            return session

        return remembered

    @contextmanager
    def _no_orphan(self) -> Iterator[None]:
        """Ends a session that was opened for somebody who has left before SQLAlchemy had got hold of it."""
        had = False
        try:
            yield
            had = True
        finally:
            session = self._new_sessions.pop(asyncio.current_task(), None)
            if session is not None and not had:
                session.terminate()

    def _give_up_sessions(self) -> None:
        """Where one session hangs the others of the pool hang too: each would cost its next caller the same wait."""
        for session in tuple(self._sessions):
            session.terminate()
