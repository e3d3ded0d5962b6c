"""All that a database and a Redis hold, as text to search in."""

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


async def whole_redis(management: Services) -> str:
    names = await management.redis.call("KEYS", "*")
    dumps = [await management.redis.call("DUMP", name) for name in names]
    return b"\n".join([*names, *(dump or b"" for dump in dumps)]).decode("latin-1")
