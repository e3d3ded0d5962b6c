"""One asyncpg connection that comes back after an outage."""

import asyncio
import secrets
from collections.abc import Mapping
from typing import Any

import asyncpg

from neuronetz_gateway.db.connecting import connector
from neuronetz_gateway.db.group_commit import BatchDataError, NotCommittedError, UnknownOutcomeError

# A server that refuses connections is not asked more often than this, however many requests arrive.
_RETRY_SECONDS = 0.1
_INTEGRITY_CLASS = "23"
_DATA_CLASSES = ("22", _INTEGRITY_CLASS)  # data exception, integrity violation: the batch's own fault
_LOST_CLASSES = ("08", "57P")  # connection exception, shutdown: the session ended, perhaps in the middle of a commit


class Link:
    """Runs one statement at a time, each a transaction of its own, in a session that can be told by its name.

    Errors say what has become of the statement: BatchDataError and NotCommittedError nothing, UnknownOutcomeError
    that it may be committed, or even be running yet.
    """

    def __init__(
        self,
        url: str,
        purpose: str,
        *,
        connect_timeout_seconds: float,
        call_timeout_seconds: float,
        server_settings: Mapping[str, str],
    ) -> None:
        self._url = url
        self._purpose = purpose
        self._connect_timeout_seconds = connect_timeout_seconds
        self._call_timeout_seconds = call_timeout_seconds
        self._server_settings = server_settings
        self._connection: Any = None
        self._turn = asyncio.Lock()
        self._session = ""
        self._retry_at = 0.0

    async def fetch(self, query: str, *arguments: object) -> list[Any]:
        """The rows of one statement; whoever calls meanwhile waits for its end."""
        async with self._turn:
            return await self._fetch(query, *arguments)

    async def _fetch(self, query: str, *arguments: object) -> list[Any]:
        connection = await self._connected()
        # Past its own time-out a server must be hanging: a cancel request would hang too, so the connection is dropped.
        timer = asyncio.get_running_loop().call_later(self._call_timeout_seconds, connection.terminate)
        try:
            rows: list[Any] = await connection.fetch(query, *arguments)
        except asyncpg.PostgresError as error:
            raise self._explained(error) from None  # its own words may repeat what the caller sent
        except (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError) as error:
            if isinstance(error, ValueError):  # asyncpg could not encode an argument: nothing was sent
                raise BatchDataError(type(error).__name__) from None
            raise self._lost(error) from error
        except AttributeError as error:
            if not connection.is_closed():
                raise
            raise self._lost(error) from error  # asyncpg's own words for an end between two of its awaits
        except asyncio.CancelledError:
            self._drop()
            raise
        finally:
            timer.cancel()
        return rows

    async def aclose(self) -> None:
        """Ends the session; the link may be used again."""
        connection, self._connection = self._connection, None
        if connection is not None and not connection.is_closed():
            try:
                await connection.close(timeout=self._connect_timeout_seconds)
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
                connection.terminate()

    async def _connected(self) -> Any:
        if self._connection is not None and not self._connection.is_closed():
            return self._connection
        loop = asyncio.get_running_loop()
        if loop.time() < self._retry_at:
            raise NotCommittedError("the database could not be reached a moment ago")
        self._session = f"neuronetz-gateway {self._purpose} {secrets.token_hex(8)}"
        connect = connector(
            self._url,
            connect_timeout_seconds=self._connect_timeout_seconds,
            server_settings={**self._server_settings, "application_name": self._session},
        )
        try:
            self._connection = await connect()
        except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
            self._retry_at = loop.time() + _RETRY_SECONDS
            raise NotCommittedError(f"the database cannot be reached: {type(error).__name__}") from error
        return self._connection

    def _explained(self, error: asyncpg.PostgresError) -> Exception:
        state = error.sqlstate or ""
        if state.startswith(_DATA_CLASSES):
            named = f": {error.constraint_name or error}" if state.startswith(_INTEGRITY_CLASS) else ""
            return BatchDataError(f"{type(error).__name__} ({state}){named}")
        if state.startswith(_LOST_CLASSES):
            return self._lost(error)
        self._drop()  # a read-only standby, a changed function: another connection may fare better
        return NotCommittedError(f"{type(error).__name__} ({state})")

    def _lost(self, error: Exception) -> UnknownOutcomeError:
        self._drop()
        return UnknownOutcomeError(f"the connection was lost: {type(error).__name__}", session=self._session)

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()
