"""How a database URL becomes a connection, the same way for SQLAlchemy as for asyncpg alone."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg

type Connector = Callable[[], Awaitable["Session"]]

# A gateway whose machine has vanished says no goodbye: what its sessions lock is free again after 25 s, not after the
# two hours of the kernel (a socket of the same machine takes no notice). One that is stopped in a transaction has 5 s:
# all of ours are short.
_SERVER_SETTINGS = {
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "idle_in_transaction_session_timeout": "5000",
}


class Session(asyncpg.Connection):  # type: ignore[misc]  # asyncpg has no types
    """A connection that is given up where asyncpg would ask the server to cancel what was too slow.

    The server has time-outs of its own, so whoever is later still hangs: it would not hear of a cancel either, and
    waiting for that cost seconds on seconds (a ping, its rollback, a goodbye).
    """

    def _cancel_current_command(
        self, waiter: asyncio.Future[None], cancel_waiter: asyncio.Future[None] | None = None
    ) -> None:
        del waiter, cancel_waiter  # both are completed by the end of the connection
        asyncio.get_running_loop().call_soon(self.terminate)  # asyncpg has a line left to do with the connection


def connector(
    url: str,
    *,
    connect_timeout_seconds: float,
    command_timeout_seconds: float | None = None,
    server_settings: Mapping[str, str] | None = None,
) -> Connector:
    """A function that opens an asyncpg connection to a `postgresql+asyncpg://` URL.

    All that libpq knows may stand in the query (host, a socket folder included, sslmode, sslrootcert, ...), and
    `ssl`, SQLAlchemy's own word for sslmode, besides. What is left there becomes a server setting.
    """
    dsn = _dsn(url)

    async def connect() -> Session:
        connection: Session = await asyncpg.connect(
            dsn,
            timeout=connect_timeout_seconds,
            command_timeout=command_timeout_seconds,
            server_settings=_SERVER_SETTINGS | dict(server_settings or {}),
            connection_class=Session,
        )
        return connection

    return connect


def cancellations() -> int:
    """How often the current task was told to end."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


def end_if_cancelled(before: int) -> None:
    """Raises CancelledError where the task was told to end since: SQLAlchemy may have lost that on the way.

    A cancelled statement ends its session here. Where it was a ping SQLAlchemy opens another one as if nothing were;
    elsewhere the error of the rollback takes the place of the cancellation.
    """
    if cancellations() > before:
        raise asyncio.CancelledError


def _dsn(url: str) -> str:
    parts = urlsplit(url)
    query = [("sslmode" if name == "ssl" else name, value) for name, value in parse_qsl(parts.query)]
    return urlunsplit(parts._replace(scheme="postgresql", query=urlencode(query)))
