"""The stores of a test behind fault proxies, with the stores themselves at hand for the witness."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from tests.support.fake_ollama import FakeOllama
from tests.support.fault_proxy import FaultProxy, redis_commands
from tests.support.stores import Stores

_POSTGRES_PORT, _REDIS_PORT = 5432, 6379


@dataclass(frozen=True, slots=True)
class FaultyStores:
    """`stores` with `upstream_url` lead through the proxies, `direct` past them."""

    postgres: FaultProxy
    redis: FaultProxy
    ollama: FaultProxy
    stores: Stores
    direct: Stores

    @property
    def upstream_url(self) -> str:
        return f"http://{self.ollama.address}"

    @property
    def proxies(self) -> dict[str, FaultProxy]:
        """By the name of what stands behind each."""
        return {"postgres": self.postgres, "redis": self.redis, "ollama": self.ollama}

    def heal(self) -> None:
        for proxy in self.proxies.values():
            proxy.heal()


@asynccontextmanager
async def faulty_stores(
    direct: Stores, ollama: FakeOllama, *, dice: random.Random | None = None
) -> AsyncIterator[FaultyStores]:
    """Proxies before all three; only who uses `stores` and `upstream_url` feels their faults."""
    dice = dice or random.Random(0)
    async with (
        FaultProxy(*_postgres_place(direct.database_url), dice=dice) as postgres,
        FaultProxy(*_redis_place(direct.redis_url), dice=dice, messages=redis_commands) as redis,
        FaultProxy(ollama.host, ollama.port, dice=dice) as upstream,
    ):
        through = Stores(_postgres_url(direct.database_url, postgres), _redis_url(direct.redis_url, redis))
        yield FaultyStores(postgres, redis, upstream, through, direct)


def proxy_before_postgres(url: str) -> FaultProxy:
    """One before this Postgres alone."""
    return FaultProxy(*_postgres_place(url))


def through(proxy: FaultProxy, url: str) -> str:
    """The URL of the same database by way of this proxy."""
    return _postgres_url(url, proxy)


def _postgres_place(url: str) -> tuple[str, int | Path]:
    parts = urlsplit(url)
    folder = dict(parse_qsl(parts.query)).get("host")
    port = parts.port or _POSTGRES_PORT
    return ("", Path(folder) / f".s.PGSQL.{port}") if folder else (parts.hostname or "127.0.0.1", port)


def _postgres_url(url: str, proxy: FaultProxy) -> str:
    """The same database through the proxy, without asking a server on a Unix socket whether it speaks TLS."""
    parts = urlsplit(url)
    query = {name: value for name, value in parse_qsl(parts.query) if name != "host"}
    return urlunsplit(
        parts._replace(netloc=_beside_the_name(parts.netloc, proxy), query=urlencode({"sslmode": "disable"} | query))
    )


def _redis_place(url: str) -> tuple[str, int | Path]:
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return "", Path(unquote(parts.path))
    return parts.hostname or "127.0.0.1", parts.port or _REDIS_PORT


def _redis_url(url: str, proxy: FaultProxy) -> str:
    parts = urlsplit(url)
    path = "" if parts.scheme == "unix" else parts.path
    return urlunsplit(parts._replace(scheme="redis", netloc=_beside_the_name(parts.netloc, proxy), path=path))


def _beside_the_name(netloc: str, proxy: FaultProxy) -> str:
    name, at, _ = netloc.rpartition("@")
    return f"{name}{at}{proxy.address}"
