"""What can befall a Postgres, each from its beginning to its end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from signal import SIGCONT, SIGSTOP
from typing import Any

import asyncpg

from tests.support.breakable_postgres import BreakablePostgres
from tests.support.fault_proxy import FaultProxy
from tests.support.stores import Stores, asyncpg_dsn

_DOWN_SECONDS = 0.5
_SLOW_SECONDS = 3.0
_OURS = "from pg_stat_activity where usename = 'gateway' and application_name <> 'other'"
_WAITING = "select 1 from pg_locks where not granted"


@dataclass(frozen=True, slots=True)
class Place:
    """A server, the proxy before it, the database in it as its superuser reaches it past the proxy."""

    server: BreakablePostgres
    proxy: FaultProxy
    database: Stores


@dataclass(frozen=True, slots=True)
class PostgresFault:
    """`begin` returns when it holds, leaving it when Postgres can be had again.

    `total` says that nothing works at all, a mere question included. Some are felt by a few requests late or never:
    `lets_through` says how many may still be served.
    """

    begin: Callable[[Place], AbstractAsyncContextManager[None]]
    total: bool = True
    lets_through: int = 0


@asynccontextmanager
async def _killed(place: Place) -> AsyncIterator[None]:
    await place.server.kill()
    try:
        yield
    finally:
        await place.server.begin()


@asynccontextmanager
async def _restarted(place: Place) -> AsyncIterator[None]:
    await place.server.end()
    try:
        yield
    finally:
        await place.server.begin()


@asynccontextmanager
async def _starting(place: Place) -> AsyncIterator[None]:
    """It accepts connections to say that it does not accept them (57P03), as in a long recovery."""
    await place.server.end()
    place.server.standby_signal(there=True)
    await place.server.begin(ready=False, hot_standby="off")
    try:
        yield
    finally:
        await place.server.kill()
        place.server.standby_signal(there=False)
        await place.server.begin()


@asynccontextmanager
async def _standby(place: Place) -> AsyncIterator[None]:
    """It answers, and refuses to write (25006), as a standby does to whom a connection was moved."""
    await place.server.end()
    place.server.standby_signal(there=True)
    await place.server.begin()
    try:
        yield
    finally:
        await place.database.fetch("select pg_promote()")


@asynccontextmanager
async def _frozen(place: Place) -> AsyncIterator[None]:
    place.server.signal(SIGSTOP)
    try:
        yield
    finally:
        place.server.signal(SIGCONT)


@asynccontextmanager
async def _read_only(place: Place) -> AsyncIterator[None]:
    await _set(place, "default_transaction_read_only", "on")
    try:
        yield
    finally:
        await _reset(place, "default_transaction_read_only")


@asynccontextmanager
async def _commits_wait(place: Place) -> AsyncIterator[None]:
    """Each commit is done, then waits for a standby that is not there: as a disk that takes for ever to sync."""
    await _set(place, "synchronous_standby_names", "nobody")
    try:
        yield
    finally:
        await _reset(place, "synchronous_standby_names")


@asynccontextmanager
async def _too_many_clients(place: Place) -> AsyncIterator[None]:
    """Others have taken every connection that there is (53300)."""
    others: list[Any] = []
    try:
        async with asyncio.timeout(20):
            while not others or await place.database.fetch(f"select 1 {_OURS}"):
                await place.database.fetch(f"select pg_terminate_backend(pid) {_OURS}")
                with suppress(asyncpg.TooManyConnectionsError):
                    while True:
                        others.append(await _other(place))
        yield
    finally:
        await asyncio.gather(*(other.close() for other in others))


@asynccontextmanager
async def _full_disk(place: Place) -> AsyncIterator[None]:
    """The disk under the reservations is full (53100); a page that was begun has room for the first few yet.

    Real where this machine allows mounts of one's own, else the error alone is, raised by a trigger.
    """
    small, database = place.server.small_disk, place.database
    if small is None:
        await database.execute(
            "create function full_disk() returns trigger language plpgsql as "
            "$$ begin raise exception using errcode = '53100', message = 'could not extend file'; end $$"
        )
        await database.execute("create trigger full_disk before insert on reservations execute function full_disk()")
        yield
        await database.execute("drop function full_disk cascade")
        return
    await database.execute(f"create tablespace small location '{small}'")
    await database.execute("alter table reservations set (fillfactor = 10)")
    await database.execute("alter table reservations set tablespace small")
    await database.execute("create table filler (bytes text storage plain) tablespace small")
    await database.execute("alter table filler set (autovacuum_enabled = off)")
    for size in (7000, 10):  # what it extended before it failed stays its own
        try:
            await database.execute("insert into filler select repeat('x', $1) from generate_series(1, 1000000)", size)
        except asyncpg.DiskFullError:
            continue
        raise AssertionError("the small disk is not full")
    yield
    await database.execute("drop table filler")
    await database.execute("alter table reservations set tablespace pg_default")
    await database.execute("drop tablespace small")


@asynccontextmanager
async def _locked(place: Place) -> AsyncIterator[None]:
    """Somebody's transaction holds what every reservation needs."""
    async with place.database.transaction() as other:
        await other.execute("select 1 from budget_usage for update")
        yield


@asynccontextmanager
async def _deadlocked(place: Place) -> AsyncIterator[None]:
    """Somebody takes the same rows in the opposite order, again and again (40P01)."""
    storm = asyncio.create_task(_deadlocks(place))
    try:
        yield
    finally:
        storm.cancel()
        with suppress(asyncio.CancelledError):
            await storm


async def _deadlocks(place: Place) -> None:
    first, last = "scope_id, period, window_start", "scope_id desc, period desc, window_start desc"
    one = "select 1 from budget_usage where (scope_id, period, window_start) = (select scope_id, period, window_start"
    while True:
        async with place.database.transaction() as other:
            await other.execute("set deadlock_timeout = '1min'")  # it is never the victim
            await other.execute(f"{one} from budget_usage order by {last} limit 1) for update")
            while not await other.fetch(_WAITING):
                await asyncio.sleep(0.005)
            await other.execute(f"{one} from budget_usage order by {first} limit 1) for update")


def _by_proxy(change: Callable[[FaultProxy], Any]) -> PostgresFault:
    @asynccontextmanager
    async def begin(place: Place) -> AsyncIterator[None]:
        change(place.proxy)
        yield
        place.proxy.heal()

    return PostgresFault(begin)


async def _other(place: Place) -> Any:
    return await asyncpg.connect(asyncpg_dsn(place.server.url), server_settings={"application_name": "other"})


async def _set(place: Place, name: str, value: str) -> None:
    await place.database.execute(f"alter system set {name} = '{value}'")
    await place.database.fetch("select pg_reload_conf()")
    await _until_shown(place, name, value)


async def _reset(place: Place, name: str) -> None:
    connection = await asyncpg.connect(
        asyncpg_dsn(place.database.database_url),
        server_settings={"default_transaction_read_only": "off", "synchronous_commit": "local"},
    )
    await connection.execute(f"alter system reset {name}")
    await connection.fetch("select pg_reload_conf()")
    await connection.close()


async def _until_shown(place: Place, name: str, value: str) -> None:
    """A reload reaches new sessions once the postmaster has read it, others before their next statement."""
    async with asyncio.timeout(5):
        while (await place.database.fetch("select current_setting($1) as now", name))[0]["now"] != value:
            await asyncio.sleep(0.005)


FAULTS = {
    "killed": PostgresFault(_killed),
    "restarted": PostgresFault(_restarted),
    "starting": PostgresFault(_starting),
    "standby": PostgresFault(_standby, total=False),
    "frozen": PostgresFault(_frozen),
    "read-only": PostgresFault(_read_only, total=False),
    "commits wait": PostgresFault(_commits_wait, total=False),
    "too many clients": PostgresFault(_too_many_clients),
    "disk full": PostgresFault(_full_disk, total=False, lets_through=10),
    "locked": PostgresFault(_locked, total=False),
    "deadlocked": PostgresFault(_deadlocked, total=False, lets_through=1_000),
    "refused": _by_proxy(lambda proxy: proxy.refuse()),
    "hanging": _by_proxy(lambda proxy: proxy.hang()),
    "hanging, lost": _by_proxy(lambda proxy: proxy.hang(keep=False)),
    "deaf": _by_proxy(lambda proxy: proxy.half_open()),
    "slow": _by_proxy(lambda proxy: proxy.latency(_SLOW_SECONDS)),
}
