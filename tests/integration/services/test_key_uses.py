"""When a key was last used: written late, many at a time, never moved backwards; the witness is the database."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from neuronetz_gateway.db.database import Database
from neuronetz_gateway.errors import UnavailableError
from neuronetz_gateway.services.key_uses import KeyUseRecorder
from tests.support.authenticating import Authentication, authentication
from tests.support.ledgers import make_database
from tests.support.stores import Stores

NOON = datetime(2027, 1, 31, 12, tzinfo=UTC)
NEVER_SECONDS = 3600.0
AWAY = "alter table key_uses rename to key_uses_away"
BACK = "alter table key_uses_away rename to key_uses"


class Wall:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
async def one(stores: Stores) -> AsyncIterator[Authentication]:
    async with authentication(stores) as one:
        yield one


@pytest.fixture
async def database(stores: Stores) -> AsyncIterator[Database]:
    database = make_database(stores.database_url)
    yield database
    await database.aclose()


async def written(stores: Stores) -> list[tuple[Any, Any]]:
    rows = await stores.fetch("select last_used_at, host(last_address) as address from key_uses order by last_used_at")
    return [(row["last_used_at"], row["address"]) for row in rows]


async def test_the_latest_use_of_each_key_is_written_once(
    one: Authentication, database: Database, stores: Stores
) -> None:
    wall = Wall()
    recorder = KeyUseRecorder(database, every_seconds=NEVER_SECONDS, now=wall)
    keys = [(await one.issued(f"tenant-{number}")).api_key for number in range(3)]
    versions = "select sum(version) as keys, (select sum(version) from tenants) as tenants from api_keys"
    before = await stores.fetch(versions)
    for seconds, address in enumerate(("192.0.2.1", "2001:db8::1", "::ffff:192.0.2.9", "fe80::1%eth0", "unix")):
        wall.now = NOON + timedelta(seconds=seconds)
        recorder.used(keys[0].id, address)
    recorder.used(keys[1].id, "fe80::1%eth0")
    await recorder.flush()
    assert await written(stores) == [(wall.now, None), (wall.now, "fe80::1")]
    assert await stores.fetch(versions) == before
    listed = [key for number in range(3) for key in await one.keys.list(f"tenant-{number}")]
    assert [key.last_used_at for key in listed] == [wall.now, wall.now, None]


async def test_a_use_is_never_moved_backwards(one: Authentication, database: Database, stores: Stores) -> None:
    """Two processes tell of one key in any order, with clocks of their own."""
    key = (await one.issued()).api_key
    early, late = Wall(), Wall()
    late.now += timedelta(minutes=5)
    behind, ahead = (KeyUseRecorder(database, every_seconds=NEVER_SECONDS, now=wall) for wall in (early, late))
    ahead.used(key.id, "192.0.2.2")
    await ahead.flush()
    behind.used(key.id, "192.0.2.1")
    await behind.flush()
    assert await written(stores) == [(late.now, "192.0.2.2")]


async def test_what_an_outage_kept_back_is_written_after_it(
    one: Authentication, database: Database, stores: Stores
) -> None:
    first, second = (await one.issued("a")).api_key, (await one.issued("b")).api_key
    events: list[str] = []
    wall = Wall()
    recorder = KeyUseRecorder(database, every_seconds=0.01, now=wall, happened=events.append)
    await stores.execute(AWAY)
    recorder.used(first.id, "192.0.2.1")
    recorder.used(second.id, "192.0.2.1")
    with pytest.raises(UnavailableError):
        await recorder.flush()
    wall.now += timedelta(seconds=1)
    recorder.used(second.id, "192.0.2.2")  # later than what waits: that must not come over it
    await recorder.start()
    async with asyncio.timeout(10):
        while len(events) < 3:
            await asyncio.sleep(0.005)
    assert set(events) == {"key_uses_unwritten"}
    await stores.execute(BACK)
    await recorder.aclose()
    assert await written(stores) == [(NOON, "192.0.2.1"), (wall.now, "192.0.2.2")]


async def test_the_end_writes_what_is_left_and_a_recorder_that_never_began_has_none(
    one: Authentication, database: Database, stores: Stores
) -> None:
    key = (await one.issued()).api_key
    recorder = KeyUseRecorder(database, every_seconds=NEVER_SECONDS, now=Wall())
    await recorder.aclose()
    await recorder.start()
    recorder.used(key.id, "192.0.2.1")
    await recorder.aclose()
    assert await written(stores) == [(NOON, "192.0.2.1")]


async def test_a_key_that_is_gone_holds_up_nobody(one: Authentication, database: Database, stores: Stores) -> None:
    stays = (await one.issued()).api_key
    recorder = KeyUseRecorder(database, every_seconds=NEVER_SECONDS, now=Wall())
    recorder.used(uuid4(), "192.0.2.1")
    recorder.used(stays.id, "192.0.2.1")
    await recorder.flush()
    assert await written(stores) == [(NOON, "192.0.2.1")]


async def test_many_recorders_of_the_same_keys_never_wait_for_each_other_in_a_circle(
    one: Authentication, database: Database, stores: Stores
) -> None:
    keys = [(await one.issued(f"tenant-{number}")).api_key for number in range(20)]

    async def tell(order: int) -> None:
        wall = Wall()
        recorder = KeyUseRecorder(database, every_seconds=NEVER_SECONDS, now=wall)
        for round_number in range(10):
            wall.now = NOON + timedelta(seconds=round_number)
            for key in keys[::order]:
                recorder.used(key.id, "192.0.2.1")
            await recorder.flush()

    await asyncio.gather(*(tell(order) for order in (1, -1, 1, -1)))
    assert {moment for moment, _ in await written(stores)} == {NOON + timedelta(seconds=9)}
