"""Redis loses its memory under load, in every way that it can: limits hold to the request, budgets to the token."""

import asyncio
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from neuronetz_gateway.domain.budget import Period
from neuronetz_gateway.domain.limit import Limits
from neuronetz_gateway.upstream.transport import OllamaTransport
from neuronetz_gateway.wiring import Services, build_services
from tests.support.counters import Server
from tests.support.factories import Tenancy, make_tenancy
from tests.support.fake_ollama import FakeOllama, Script
from tests.support.fleet import Fleet, fleet
from tests.support.forks import Zygote
from tests.support.gateways import make_settings, write_env_file
from tests.support.ledgers import until
from tests.support.load import CHAT
from tests.support.stores import Stores

RPM = 40
PLACES = 4
BUDGET_TOKENS = 1_000_000
OK, LIMITED, UNAVAILABLE = 200, 429, 503
LANES = 24


class MortalServer(Server):
    """Also gives back an earlier memory, as from a backup."""

    def __init__(self, directory: Path) -> None:
        self._data, self._copy = directory / "valkey", directory / "copy"
        super().__init__(directory)

    def remember(self) -> None:
        """Takes the copy that `go_back` returns to."""
        shutil.rmtree(self._copy, ignore_errors=True)
        shutil.copytree(self._data, self._copy)

    def flush(self) -> None:
        self.ask("FLUSHALL")

    def restart(self) -> None:
        self.kill()
        self.revive()

    def go_back(self) -> None:
        self.kill()
        shutil.rmtree(self._data)
        shutil.copytree(self._copy, self._data)
        self.revive()


LOSSES: dict[str, Callable[[MortalServer], None]] = {
    "flushed": MortalServer.flush,
    "restarted": MortalServer.restart,
    "put back to a snapshot": MortalServer.go_back,
}


@pytest.fixture(scope="module")
def _started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MortalServer]:
    server = MortalServer(tmp_path_factory.mktemp("l"))
    yield server
    server.stop()


@pytest.fixture
def server(_started: MortalServer) -> MortalServer:
    _started.clear()
    return _started


@pytest.fixture
def stores(database_url: str, server: MortalServer) -> Stores:
    return Stores(database_url, server.url)


@pytest.fixture
async def management(stores: Stores, ollama: FakeOllama) -> AsyncIterator[Services]:
    services = build_services(make_settings(stores, ollama.base_url))
    yield services
    await services.aclose()


@pytest.fixture
async def two_gateways(zygote: Zygote, stores: Stores, ollama: FakeOllama, env_path: Path) -> AsyncIterator[Fleet]:
    settings = make_settings(stores, ollama.base_url, redis_timeout_s=0.5, lease_s=10, heartbeat_s=0.5)
    async with fleet(zygote, write_env_file(env_path, settings), 2) as gateways:
        yield gateways


@dataclass(slots=True)
class Crowd:
    """Callers of one key on all gateways, who come again until they are told to stop."""

    gateways: Fleet
    key: str
    statuses: Counter[int] = field(default_factory=Counter)
    stopped: bool = False

    async def run(self, until_stopped: Callable[[], bool]) -> None:
        async with AsyncExitStack() as closing:
            clients = [
                await closing.enter_async_context(member.http(self.key, transport=OllamaTransport()))
                for member in self.gateways.members
            ]
            await asyncio.gather(*(self._lane(clients[lane % 2], until_stopped) for lane in range(LANES)))

    async def _lane(self, http: httpx.AsyncClient, until_stopped: Callable[[], bool]) -> None:
        while not until_stopped():
            answer = await http.post("/api/chat", json={**CHAT, "stream": True})
            self.statuses[answer.status_code] += 1
            if answer.status_code != OK:
                await asyncio.sleep(0.05)


async def books(stores: Stores, tenancy: Tenancy) -> dict[str, Any]:
    """What the ledger says of a tenant: used and held of its whole time, what its audit rows add up to."""
    [usage] = await stores.fetch(
        "select used, reserved from budget_usage where scope_id = $1 and period = 'total'", tenancy.tenant.id
    )
    [audit] = await stores.fetch(
        "select coalesce(sum(charged_tokens), 0)::bigint as charged, "
        "count(*) filter (where outcome not in ('refused', 'not_forwarded')) as went_up "
        "from audit_log where tenant_id = $1",
        tenancy.tenant.id,
    )
    return usage | audit


async def settled(stores: Stores, tenancy: Tenancy) -> bool:
    return bool((await books(stores, tenancy))["reserved"] == 0)


async def losing(server: MortalServer, loss: str, ollama: FakeOllama, at: list[int]) -> None:
    """Loses the memory of Redis each time that so many requests have reached the model."""
    await ollama.wait_for(lambda: len(ollama.hits) >= at[0] - 2, 30)
    server.remember()
    for count in at:
        await ollama.wait_for(lambda count=count: len(ollama.hits) >= count, 30)  # type: ignore[misc]  # bound at once
        LOSSES[loss](server)


@pytest.mark.promise("B4", "L1")
@pytest.mark.parametrize("loss", LOSSES)
async def test_exactly_the_limit_reaches_the_model_however_redis_is_lost(
    two_gateways: Fleet, management: Services, stores: Stores, server: MortalServer, ollama: FakeOllama, loss: str
) -> None:
    ollama.script = Script(tokens=5, gap_seconds=0.01)
    tenancy = await make_tenancy(management, tenant_limits=Limits(rpm=RPM), budget={Period.TOTAL: BUDGET_TOKENS})
    crowd = Crowd(two_gateways, tenancy.key)
    before = crowd.run(lambda: len(ollama.hits) >= RPM)
    await asyncio.gather(before, losing(server, loss, ollama, [5, 15, 30, RPM]))
    refused_before = crowd.statuses[LIMITED]
    await crowd.run(lambda: crowd.statuses[LIMITED] >= refused_before + 100)  # the last loss must let nobody in
    await ollama.wait_idle()
    await until(lambda: settled(stores, tenancy))
    written = await books(stores, tenancy)
    print(f"B4: {loss} four times: {len(ollama.hits)} of {RPM} reached the model; {dict(crowd.statuses)}; {written}")
    assert len(ollama.hits) == RPM
    assert crowd.statuses[OK] == RPM
    assert crowd.statuses.keys() <= {OK, LIMITED, UNAVAILABLE}
    assert (written["used"], written["went_up"]) == (written["charged"], RPM)


@pytest.mark.promise("B4", "L4")
@pytest.mark.parametrize("loss", LOSSES)
async def test_no_place_is_given_twice_however_redis_is_lost(
    two_gateways: Fleet, management: Services, stores: Stores, server: MortalServer, ollama: FakeOllama, loss: str
) -> None:
    """Nor is one kept: what ends while its tenant is rebuilt frees its place."""
    ollama.script = Script(tokens=8, gap_seconds=0.01)
    tenancy = await make_tenancy(management, key_limits=Limits(concurrent=PLACES), budget={Period.TOTAL: BUDGET_TOKENS})
    crowd = Crowd(two_gateways, tenancy.key)
    await asyncio.gather(crowd.run(lambda: len(ollama.hits) >= 50), losing(server, loss, ollama, [10, 20, 30, 40]))
    await ollama.wait_idle()
    await until(lambda: settled(stores, tenancy))
    written = await books(stores, tenancy)
    print(
        f"B4: {loss} four times: at most {ollama.max_in_flight} of {PLACES} at once; {dict(crowd.statuses)}; {written}"
    )
    assert ollama.max_in_flight == PLACES
    assert crowd.statuses.keys() <= {OK, LIMITED, UNAVAILABLE}
    assert (written["used"], written["went_up"]) == (written["charged"], len(ollama.hits))
