"""Gateways are killed under load: nothing is lost, nothing is free, nothing counts twice."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from neuronetz_gateway.wiring import Services
from tests.support.factories import Tenancy, make_key, make_tenancy
from tests.support.fake_ollama import FakeOllama
from tests.support.fault_load import LONG, End, FaultLoad, Told, install
from tests.support.fleet import Fleet, fleet
from tests.support.forks import Zygote
from tests.support.gateways import make_settings, write_env_file
from tests.support.joining import Allowed, Books, Hits, books_when_right, read_books
from tests.support.stores import Stores

SEED = 20261124
# A dead process is found after two seconds instead of a minute, and every refusal has a row of its own.
SOON = {"heartbeat_s": 0.3, "lease_s": 3, "recovery_after_s": 2, "audit_refusals_per_minute": 1_000_000}
RECOVERED_WITHIN_SECONDS = 40
UNWRITTEN_SECONDS = 2
WITHOUT_END = 1_000_000


class Bench:
    """What one test of kills needs: the stores, the fake with its hits, two keys of a tenant."""

    def __init__(
        self, zygote: Zygote, stores: Stores, ollama: FakeOllama, env_path: Path, keys: tuple[str, ...]
    ) -> None:
        self.zygote, self.stores, self.ollama, self.env_path, self.keys = zygote, stores, ollama, env_path, keys
        self.hits = Hits(ollama)

    @asynccontextmanager
    async def gateways(self, count: int, **changes: Any) -> AsyncIterator[Fleet]:
        settings = make_settings(self.stores, self.ollama.base_url, **{**SOON, **changes})
        async with fleet(self.zygote, write_env_file(self.env_path, settings), count) as gateways:
            yield gateways

    def load(self, gateways: Fleet, count: int, **changes: Any) -> FaultLoad:
        return FaultLoad(gateways.members, self.keys, SEED, count=count, **changes)

    async def right_books(self, gateways: Fleet, told: list[Told]) -> Books:
        """The books once recovery has been there; fails where they do not come right."""
        books, wrong = await books_when_right(
            self.stores,
            self.hits,
            told,
            within_seconds=RECOVERED_WITHIN_SECONDS,
            allowed=Allowed(unwritten=lambda each: _perhaps_unwritten(gateways, each)),
        )
        assert wrong == [], "\n".join(wrong)
        return books


def _perhaps_unwritten(gateways: Fleet, told: Told) -> bool:
    """Refusals are written in batches, a moment later: a kill may come first."""
    kills = gateways.members[told.member].kills
    return told.status != 200 and any(0 <= kill - told.ended_at < UNWRITTEN_SECONDS for kill in kills)


@pytest.fixture
async def tenancy(management: Services, ollama: FakeOllama) -> Tenancy:
    return await make_tenancy(management, models=install(ollama))


@pytest.fixture
async def bench(
    zygote: Zygote, management: Services, stores: Stores, ollama: FakeOllama, env_path: Path, tenancy: Tenancy
) -> Bench:
    other = await make_key(management, tenancy.tenant)
    return Bench(zygote, stores, ollama, env_path, (tenancy.key, other.key))


async def kill_now_and_then(gateways: Fleet, load: FaultLoad, kills: int) -> None:
    """So many kills, spread over the load at random; each gateway is started again at once."""
    dice = random.Random(load.seed)
    for moment in sorted(dice.sample(range(load.count), kills)):
        await load.reached(moment)
        victim = dice.randrange(len(gateways.members))
        await gateways.kill(victim)
        await gateways.start(victim)


async def kill_mid_stream(gateways: Fleet, load: FaultLoad, kills: int) -> None:
    """So many kills at random moments of streams of half a second, then an end of the load."""
    dice = random.Random(load.seed)
    for _ in range(kills):
        await asyncio.sleep(0.1 + dice.random() / 2)
        victim = dice.randrange(len(gateways.members))
        await gateways.kill(victim)
        await gateways.start(victim)
    load.stopped = True


async def one_row_a_hit(bench: Bench, count: int, *, kills: int, disconnects: int) -> None:
    async with bench.gateways(3) as gateways:
        # A few more want to leave, since the gateway of some is killed before they do.
        load = bench.load(gateways, count, leavers=disconnects + disconnects // 15 + 5)
        killing = asyncio.create_task(kill_now_and_then(gateways, load, kills))
        told = await load.run()
        await killing
        books = await bench.right_books(gateways, told)
    print(
        f"D1: {len(told)} requests over 3 processes, {load.ends[End.LEFT]} disconnects, {gateways.kills} kills -9: "
        f"{len(books.hits)} upstream hits, {len(books.rows)} audit rows, 0 missing, 0 duplicate; "
        f"{books.charged_tokens} tokens charged == used; outcomes {dict(books.outcomes)}"
    )
    assert (len(told), gateways.kills) == (count, kills)
    assert load.ends[End.LEFT] >= disconnects
    assert load.ends[End.BROKEN] > kills
    assert books.outcomes["abandoned"] > 0


@pytest.mark.promise("D1", "B2")
@pytest.mark.parametrize(("count", "kills"), [(450, 3), pytest.param(900, 4, marks=pytest.mark.full)])
async def test_every_hit_has_one_row_through_requests_disconnects_and_kills(
    bench: Bench, count: int, kills: int
) -> None:
    await one_row_a_hit(bench, count, kills=kills, disconnects=count // 20)


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.promise("D1", "B2")
async def test_every_hit_has_one_row_through_100000_requests_5000_disconnects_and_100_kills(bench: Bench) -> None:
    await one_row_a_hit(bench, 100_000, kills=100, disconnects=5_000)


@pytest.mark.promise("D1", "B2", "B3")
async def test_a_gateway_that_was_taken_for_dead_and_wakes_up_charges_nothing_twice(bench: Bench) -> None:
    async with bench.gateways(2) as gateways:
        load = bench.load(gateways, WITHOUT_END, models=(LONG,), lanes=8)
        loading = asyncio.create_task(load.run())
        await load.reached(40)
        gateways.stop(0)
        async with asyncio.timeout(RECOVERED_WITHIN_SECONDS):
            while not (await read_books(bench.stores, bench.hits)).outcomes["abandoned"]:
                await asyncio.sleep(0.1)
        gateways.resume(0)
        await gateways.until(0, "/readyz")
        await load.reached(len(load.told) + 40)
        load.stopped = True
        told = await loading
        books = await bench.right_books(gateways, told)
    found = books.outcomes["abandoned"]
    print(
        f"D1: a process that slept past its recovery held {found} requests, each charged once; {dict(books.outcomes)}"
    )
    assert any(each.member == 0 and each.status == 200 for each in told[-40:]), "it serves again"


async def nothing_is_undercharged(bench: Bench, kills: int) -> None:
    async with bench.gateways(2) as gateways:
        load = bench.load(gateways, WITHOUT_END, models=(LONG,), lanes=12)
        killing = asyncio.create_task(kill_mid_stream(gateways, load, kills))
        told = await load.run()
        await killing
        books = await bench.right_books(gateways, told)
    abandoned = {row["request_id"]: row for row in books.rows if row["outcome"] == "abandoned"}
    cut = [hit for hit in books.hits if f"n-{hit.number}" in abandoned]
    delivered = sum(hit.prompt_tokens + hit.output_tokens for hit in cut)
    charged = sum(row["charged_tokens"] for row in abandoned.values())
    print(
        f"B6: kill -9 at {gateways.kills} random points mid-stream cut {len(cut)} answers; "
        f"{delivered} tokens had been delivered, {charged} were charged, under-charge 0 in {len(books.hits)} requests"
    )
    assert gateways.kills == kills
    assert len(cut) >= kills
    assert any(hit.output_tokens for hit in cut)


@pytest.mark.promise("B6")
async def test_a_kill_at_4_random_points_of_a_stream_undercharges_nothing(bench: Bench) -> None:
    await nothing_is_undercharged(bench, 4)


@pytest.mark.full
@pytest.mark.timeout(1200)
@pytest.mark.promise("B6")
async def test_a_kill_at_200_random_points_of_a_stream_undercharges_nothing(bench: Bench) -> None:
    await nothing_is_undercharged(bench, 200)
