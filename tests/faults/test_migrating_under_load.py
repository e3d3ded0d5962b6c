"""The schema goes back and forth while gateways serve: whoever is not served is told 503, nothing is lost or free."""

import asyncio
from collections import Counter
from functools import partial

import pytest

from neuronetz_gateway.db.migrating import current_revision, downgrade, head, migrate, migrations_folder
from neuronetz_gateway.errors import UnavailableError
from neuronetz_gateway.wiring import Services
from tests.support.factories import Tenancy, make_tenancy
from tests.support.fake_ollama import FakeOllama
from tests.support.gateways import LiveGateway, live_gateway
from tests.support.ledgers import until
from tests.support.load import CHAT
from tests.support.stores import Stores

pytestmark = pytest.mark.promise("P4")
CALLERS = 8
REVISIONS = sorted(path.name[:4] for path in (migrations_folder() / "versions").glob("0*.py"))
CHARGED = "select outcome, count(*) as rows, sum(charged_tokens)::bigint as charged from audit_log group by 1"
USED = "select used, reserved from budget_usage where scope_id = $1"
TWICE = "select id from audit_log group by id having count(*) > 1"


class Load:
    """Callers that go on until they are told to stop, with what they were told."""

    def __init__(self, gateway: LiveGateway, key: str) -> None:
        self._gateway, self._key = gateway, key
        self._going = True
        self.told: Counter[int] = Counter()

    async def run(self) -> None:
        await asyncio.gather(*(self._call() for _ in range(CALLERS)))

    def stop(self) -> None:
        self._going = False

    async def served(self, more: int) -> None:
        """Returns once so many more have been served."""
        wanted = self.told[200] + more
        await until(lambda: self._has_served(wanted))

    async def _has_served(self, wanted: int) -> bool:
        return self.told[200] >= wanted

    async def _call(self) -> None:
        async with self._gateway.http(self._key) as http:
            while self._going:
                self.told[(await http.post("/api/chat", json=CHAT)).status_code] += 1


async def moved(url: str, revision: str | None) -> None:
    """Brings the schema to a revision (None: the newest); again where somebody held a table for too long."""
    work = partial(migrate, url) if revision is None else partial(downgrade, url, revision)
    while True:
        try:
            await asyncio.to_thread(work)
        except UnavailableError:
            continue
        return


@pytest.mark.parametrize(
    "revisions",
    [pytest.param(REVISIONS[-2:-1], id="last"), pytest.param(REVISIONS[:-1] * 3, id="all", marks=pytest.mark.full)],
)
async def test_migrations_go_back_and_forth_under_load(
    management: Services, stores: Stores, ollama: FakeOllama, revisions: list[str]
) -> None:
    """On an older schema this release serves nobody, as it cannot; on its own again it does, without a restart."""
    tenancy = await make_tenancy(management)
    async with live_gateway(
        stores, ollama.base_url, ledger_timeout_s=1, database_statement_timeout_s=2, database_connect_timeout_s=2
    ) as gateway:
        load = Load(gateway, tenancy.key)
        running = asyncio.create_task(load.run())
        for revision in revisions:
            await load.served(20)
            await moved(stores.database_url, revision)
            await moved(stores.database_url, None)
        await load.served(20)
        load.stop()
        await running
        await until(lambda: _settled(stores, tenancy))
    assert await asyncio.to_thread(current_revision, stores.database_url) == head()
    assert load.told.keys() <= {200, 503}, load.told
    await _check_books(stores, ollama, tenancy, load.told[200])
    print(f"P4: {len(revisions)} ways back and forth under load: {dict(load.told)}")


async def _settled(stores: Stores, tenancy: Tenancy) -> bool:
    return all(row["reserved"] == 0 for row in await stores.fetch(USED, tenancy.tenant.id))


async def _check_books(stores: Stores, ollama: FakeOllama, tenancy: Tenancy, served: int) -> None:
    rows = {row["outcome"]: row for row in await stores.fetch(CHARGED)}
    assert rows["completed"]["rows"] == len(ollama.hits) == served
    assert set(rows) <= {"completed", "refused", "not_forwarded"}
    assert await stores.fetch(TWICE) == []
    assert {(row["used"], row["reserved"]) for row in await stores.fetch(USED, tenancy.tenant.id)} == {
        (rows["completed"]["charged"], 0)
    }
    assert await stores.fetch("select 1 from reservations") == []
