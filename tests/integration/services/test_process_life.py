"""A process that was taken for dead is fenced: what it held is charged already, and it goes on under another id."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from neuronetz_gateway.db.migrating import migrate
from neuronetz_gateway.domain.principal import Principal
from neuronetz_gateway.embedded.postgres import EmbeddedPostgres
from neuronetz_gateway.errors import UnavailableError
from neuronetz_gateway.repositories.ledger import Ledger
from neuronetz_gateway.services.budgeting import BudgetLedger
from neuronetz_gateway.services.recovery import Recovery
from tests.support.ledgers import World, completed, make_ask, make_database, running_ledger, until

LIVING = "select id from processes where swept_at is null"


class PausedLedger(Ledger):
    """Its heartbeats stand still while `paused`, as those of a stopped process or behind a cut cable do."""

    paused = False
    stands = False

    async def heartbeat(self, process_id: UUID, *, host: str, pid: int) -> datetime | None:
        while self.paused:
            PausedLedger.stands = True
            await asyncio.sleep(0.01)
        PausedLedger.stands = False
        return await super().heartbeat(process_id, host=host, pid=pid)


class Fenced:
    """A running ledger with what it did when it learned of its death."""

    def __init__(self) -> None:
        self.cuts: list[str] = []
        self.heard: list[datetime | None] = []
        self.events: Counter[str] = Counter()

    def cut_all(self) -> int:
        self.cuts.append("all")
        return 0

    @asynccontextmanager
    async def ledger(
        self, url: str, ledger_class: type[Ledger], heartbeat_seconds: float, **changes: float
    ) -> AsyncIterator[BudgetLedger]:
        async with running_ledger(
            url,
            ledger_class,
            heartbeat_seconds=heartbeat_seconds,
            heard=self.heard.append,
            cut_all=self.cut_all,
            happened=lambda event: self.events.update([event]),
            **changes,
        ) as ledger:
            yield ledger


@pytest.fixture
def fenced() -> Fenced:
    PausedLedger.paused = PausedLedger.stands = False
    return Fenced()


async def swept(world: World) -> int:
    """What another process finds once the heartbeat of this one is old."""
    await world.sql("update processes set heartbeat_at = heartbeat_at - interval '61 seconds'")
    database = make_database(world.url)
    try:
        return await Recovery(Ledger(database), after_seconds=60, happened=lambda _event, _times: None).sweep()
    finally:
        await database.aclose()


async def again(ledger: BudgetLedger, caller: Principal) -> UUID:
    """What it reserves once it serves again."""
    async with asyncio.timeout(10):
        while True:
            try:
                return (await ledger.reserve(caller, make_ask())).id
            except UnavailableError:
                await asyncio.sleep(0.01)


@pytest.mark.promise("B6", "D1")
async def test_a_paused_process_is_swept_once_then_goes_on_under_another_id(world: World, fenced: Fenced) -> None:
    caller = await world.caller()
    async with fenced.ledger(world.url, PausedLedger, heartbeat_seconds=0.05) as ledger:
        ((first_id,),) = await world.sql(LIVING)
        held = await ledger.reserve(caller, make_ask())
        await _paused()
        assert await swept(world) == 1
        assert await world.usage(caller) == {(150, 0)}
        PausedLedger.paused = False
        await until(lambda: world.sql(LIVING))
        assert fenced.cuts == ["all"]
        ledger.settle(completed(held, 70))
        later = await again(ledger, caller)
        ((second_id,),) = await world.sql(LIVING)
        assert (await world.sql("select process_id from reservations"))[0][0] == second_id != first_id
        await _paused()
        assert await swept(world) == 1
        PausedLedger.paused = False
        await until(lambda: _is(fenced.events["declared_dead"] == 2))
        ledger.settle(completed(later, 70))
    assert fenced.events == {"declared_dead": 2}
    assert [row["outcome"] for row in await world.sql("select outcome from audit_log")] == ["abandoned"] * 2
    assert await world.usage(caller) == {(300, 0)}
    assert await world.sql(LIVING) == []


async def test_a_reservation_that_finds_its_process_swept_has_it_registered_anew_at_once(
    world: World, fenced: Fenced
) -> None:
    """Whoever asks meanwhile waits for that: a caller whose answer was cut asks again sooner than the id is there.

    It was told 503 once, a few milliseconds after the cut, by a process that was in order again a moment later.
    """
    caller = await world.caller()
    async with fenced.ledger(world.url, Ledger, heartbeat_seconds=3600) as ledger:
        held = await ledger.reserve(caller, make_ask())
        assert await swept(world) == 1
        asked = await asyncio.gather(*(ledger.reserve(caller, make_ask()) for _ in range(50)), return_exceptions=True)
        assert all(isinstance(each, UnavailableError) for each in asked)
        later = (await ledger.reserve(caller, make_ask())).id
        for reservation_id in (held.id, later):
            ledger.settle(completed(reservation_id, 70))
    assert (fenced.cuts, fenced.events) == (["all"], {"declared_dead": 1})
    assert fenced.heard[1] is None  # its own wait before it may sweep starts anew
    assert await world.usage(caller) == {(220, 0)}
    assert await world.count("processes") == 1  # the swept one, for a day


async def test_who_waits_for_the_new_id_is_refused_once_postgres_does_not_give_it(world: World, fenced: Fenced) -> None:
    """In time; whoever leaves meanwhile has nothing held."""
    caller = await world.caller()
    async with fenced.ledger(world.url, PausedLedger, heartbeat_seconds=3600, answer_within_seconds=1) as ledger:
        assert await swept(world) == 0
        PausedLedger.paused = True
        with pytest.raises(UnavailableError):
            await ledger.reserve(caller, make_ask())  # finds out
        await until(lambda: _is(PausedLedger.stands))
        leaving = asyncio.create_task(ledger.reserve(caller, make_ask()))
        await asyncio.sleep(0)
        leaving.cancel()
        began = time.monotonic()
        with pytest.raises(UnavailableError):
            await ledger.reserve(caller, make_ask())
        assert 0.9 < time.monotonic() - began < 5
        assert leaving.cancelled()
        PausedLedger.paused = False
        await again(ledger, caller)
    assert await world.usage(caller) == {(0, 150)}


async def test_what_was_granted_just_before_the_sweep_is_charged_though_nobody_settles_it(
    world: World, fenced: Fenced
) -> None:
    """The verdict may reach a process after its death: the reservation stands under an id that is swept already."""
    caller = await world.caller()
    async with fenced.ledger(world.url, Ledger, heartbeat_seconds=3600) as ledger:
        assert await swept(world) == 0
        await world.sql("update processes set swept_at = null")  # as the function reserve_r2 still saw it
        await ledger.reserve(caller, make_ask())
        await world.sql("update processes set swept_at = now()")
        assert await swept(world) == 1
    assert await world.usage(caller) == {(150, 0)}


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """A server of the test's own, since it is stopped."""
    server = EmbeddedPostgres(tmp_path, durable=False)
    server.start()
    migrate(server.url)
    yield server
    server.stop()


class CountingLedger(Ledger):
    """Counts its sweeps."""

    sweeps = 0

    async def abandon(self, *, age: timedelta, most: int, heard_at: datetime | None = None) -> int:
        self.sweeps += 1
        return await super().abandon(age=age, most=most, heard_at=heard_at)


@pytest.mark.promise("F2")
async def test_an_outage_of_postgres_gets_no_living_process_swept(
    own_postgres: EmbeddedPostgres, fenced: Fenced
) -> None:
    """After it all heartbeats are old, also those of who lives: whoever came back first would have swept the others."""
    server = own_postgres
    database = make_database(server.url)
    world, sweeper = World(server.url, database), CountingLedger(database)
    caller = await world.caller()
    recovery = Recovery(sweeper, after_seconds=2, happened=lambda _event, _times: None)
    await recovery.start()
    async with running_ledger(server.url) as dead:
        await dead.reserve(caller, make_ask())
    async with (
        fenced.ledger(server.url, Ledger, heartbeat_seconds=0.6) as living,  # comes back after who sweeps
        running_ledger(server.url, heartbeat_seconds=0.1, heard=recovery.heard) as quick,
    ):
        held = [await living.reserve(caller, make_ask()) for _ in range(5)]
        server.stop()
        await asyncio.sleep(2.2)  # longer than a process may be silent
        sweeps = sweeper.sweeps
        server.start()
        back_at = time.monotonic()
        await again(quick, caller)
        await until(lambda: world.sql("select 1 from audit_log where outcome = 'abandoned'"))
        waited_seconds = time.monotonic() - back_at
        assert sweeper.sweeps > sweeps
        for reservation in held:
            living.settle(completed(reservation, 70))
    await recovery.aclose()
    rows = await world.sql("select outcome, count(*) from audit_log group by 1")
    await database.aclose()
    assert {row["outcome"]: row["count"] for row in rows} == {"completed": 5, "abandoned": 1}
    assert not fenced.events
    assert waited_seconds >= 2
    print(
        f"F2: after an outage the first sweep came {waited_seconds:.1f} s after Postgres was back; 0 of 5 living swept"
    )


async def _paused() -> None:
    PausedLedger.paused = True
    await until(lambda: _is(PausedLedger.stands))


async def _is(holds: bool) -> bool:
    return holds
