"""How a database URL becomes a connection, the same way for SQLAlchemy as for asyncpg alone."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg

type Connector = Callable[[], Awaitable[Any]]


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

    async def connect() -> Any:
        return await asyncpg.connect(
            dsn,
            timeout=connect_timeout_seconds,
            command_timeout=command_timeout_seconds,
            server_settings=dict(server_settings or {}),
        )

    return connect


def _dsn(url: str) -> str:
    parts = urlsplit(url)
    query = [("sslmode" if name == "ssl" else name, value) for name, value in parse_qsl(parts.query)]
    return urlunsplit(parts._replace(scheme="postgresql", query=urlencode(query)))
