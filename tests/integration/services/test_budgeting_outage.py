"""The budget ledger while its Postgres is killed, then started again."""

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from neuronetz_gateway.db.migrating import migrate
from neuronetz_gateway.domain.budget import Reservation
from neuronetz_gateway.domain.principal import Principal
from neuronetz_gateway.embedded.postgres import EmbeddedPostgres
from neuronetz_gateway.errors import UnavailableError
from neuronetz_gateway.services.budgeting import BudgetLedger
from tests.support.ledgers import World, completed, make_ask, make_database, running_ledger


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """A server of the test's own, since it is killed."""
    server = EmbeddedPostgres(tmp_path, durable=False)
    server.start()
    migrate(server.url)
    yield server
    server.stop()


async def _again(ledger: BudgetLedger, caller: Principal) -> Reservation:
    while True:
        try:
            return await ledger.reserve(caller, make_ask())
        except UnavailableError:
            await asyncio.sleep(0.05)


@pytest.mark.promise("D2", "F2")
async def test_what_was_reserved_before_a_crash_of_postgres_is_settled_after_it(
    own_postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    database = make_database(own_postgres.url)
    world = World(own_postgres.url, database)
    caller = await world.caller()
    async with running_ledger(own_postgres.url, statement_timeout_seconds=0.5) as ledger:
        held = [await ledger.reserve(caller, make_ask()) for _ in range(20)]
        asking = [asyncio.create_task(ledger.reserve(caller, make_ask())) for _ in range(50)]
        await asyncio.sleep(0)
        os.kill(int((tmp_path / "postgres" / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
        for reservation in held:
            ledger.settle(completed(reservation, 10))
        answers = await asyncio.gather(*asking, return_exceptions=True)
        for answer in answers:
            assert isinstance(answer, Reservation | UnavailableError)
            if isinstance(answer, Reservation):
                ledger.settle(completed(answer, 0))
        own_postgres.stop()
        with pytest.raises(UnavailableError):
            await ledger.reserve(caller, make_ask())
        own_postgres.start()
        async with asyncio.timeout(15):  # promised are 5 s
            ledger.settle(completed(await _again(ledger, caller), 10))
    assert await world.usage(caller) == {(210, 0)}
    assert await world.count("reservations") == 0
    await database.aclose()
