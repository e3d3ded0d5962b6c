"""All that a database and a Redis hold, as text to search in."""

from typing import Any

from neuronetz_gateway.wiring import Services
from tests.support.stores import Stores


async def whole_database(stores: Stores) -> str:
    tables = await stores.fetch("select tablename from pg_tables where schemaname = 'public'")
    rows = [
        str(row["line"])
        for table in tables
        for row in await stores.fetch(f'select t::text as line from "{table["tablename"]}" t')  # noqa: S608 - names of our own tables
    ]
    return "\n".join(rows)


_READING: dict[bytes, tuple[str, ...]] = {
    b"string": ("GET",),
    b"hash": ("HGETALL",),
    b"set": ("SMEMBERS",),
    b"list": ("LRANGE", "0", "-1"),
    b"zset": ("ZRANGE", "0", "-1", "WITHSCORES"),
}


async def whole_redis(management: Services) -> str:
    """Every name with its value, as it stands: in what DUMP gives longer texts are compressed, so not to be found."""
    said: list[bytes] = []
    for name in await management.redis.call("KEYS", "*"):
        kind = bytes(await management.redis.call("TYPE", name))
        if kind == b"none":  # expired meanwhile
            continue
        word, *rest = _READING[kind]
        said += [name, *_flat(await management.redis.call(word, name, *rest))]
    return b"\n".join(said).decode("latin-1")


def _flat(reply: Any) -> list[bytes]:
    if isinstance(reply, list | tuple | set):
        return [part for item in reply for part in _flat(item)]
    if isinstance(reply, dict):
        return [part for pair in reply.items() for item in pair for part in _flat(item)]
    return [reply if isinstance(reply, bytes) else str(reply).encode()]
