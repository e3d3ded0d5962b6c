"""Redis in every bad state that it has: nothing goes up unadmitted, callers hear of it at once, service comes back."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import UUID

import httpx
import pytest

from neuronetz_gateway.domain.limit import Limits
from tests.support.counters import Server
from tests.support.factories import make_tenancy
from tests.support.fake_ollama import FakeOllama
from tests.support.fault_proxy import FaultProxy, redis_commands
from tests.support.gateways import LiveGateway, live_gateway
from tests.support.ledgers import until
from tests.support.load import CHAT
from tests.support.stores import Stores

SLACK = 5  # of a machine that runs other tests meanwhile
REFUSED_SECONDS = 0.3
FIRST_SECONDS = 1.0  # where only a deadline can tell
BACK_SECONDS = 2.0
UNAVAILABLE = 503
LATE_SECONDS = 0.2  # each way: more than the deadline of a call, there and back
OK = httpx.codes.OK


@dataclass(frozen=True, slots=True)
class Patient:
    """What a fault is done to: a server, the proxy before it, one tenant on it."""

    server: Server
    proxy: FaultProxy
    tenant_id: UUID

    @property
    def rates(self) -> str:
        return f"nz:{{{self.tenant_id.hex}}}:rates"


@dataclass(frozen=True, slots=True)
class Fault:
    """is_outage: nothing can be served; else at most what was under way fails. waits: only a deadline tells of it."""

    name: str
    begin: Callable[[Patient], Any]
    end: Callable[[Patient], Any] = field(default=lambda patient: patient.proxy.heal())
    is_outage: bool = True
    waits: bool = False

    def __str__(self) -> str:
        return self.name


def lock_out(patient: Patient) -> None:
    patient.server.ask("CONFIG", "SET", "requirepass", "another")
    patient.proxy.reset()


def let_in(patient: Patient) -> None:
    patient.server.ask_as("another", "CONFIG", "SET", "requirepass", "")


def write_over(patient: Patient) -> None:
    patient.server.ask("SET", patient.rates, "another writer's")


LOADING = b"-LOADING Valkey is loading the dataset in memory\r\n"
FAULTS = (
    Fault("killed", lambda p: p.server.kill(), lambda p: p.server.revive()),
    Fault("refusing", lambda p: p.proxy.refuse()),
    Fault("hanging", lambda p: p.proxy.hang(), waits=True),
    Fault("hanging, then reset", lambda p: p.proxy.hang(keep=False), waits=True),
    Fault("half open", lambda p: p.proxy.half_open(), waits=True),
    Fault("slow", lambda p: p.proxy.latency(LATE_SECONDS), waits=True),
    Fault(
        "READONLY",
        lambda p: p.server.ask("REPLICAOF", "127.0.0.1", "1"),
        lambda p: p.server.ask("REPLICAOF", "NO", "ONE"),
    ),
    Fault(
        "OOM",
        lambda p: p.server.ask("CONFIG", "SET", "maxmemory", "1"),
        lambda p: p.server.ask("CONFIG", "SET", "maxmemory", "0"),
    ),
    Fault("LOADING", lambda p: p.proxy.answer(LOADING, redis_commands)),
    Fault("wrong type", write_over, lambda p: p.server.ask("DEL", p.rates)),
    Fault("wrong password", lock_out, let_in),
    Fault("NOSCRIPT", lambda p: p.server.ask("SCRIPT", "FLUSH"), is_outage=False),
    Fault("reset", lambda p: p.proxy.reset(), is_outage=False),
    Fault("flushed", lambda p: p.server.ask("FLUSHALL"), is_outage=False),
)


@pytest.fixture(scope="module")
def _started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("f"))
    yield server
    server.stop()


@pytest.fixture
def server(_started: Server) -> Server:
    _started.clear()
    return _started


@asynccontextmanager
async def gateway_behind_proxy(
    server: Server, database_url: str, ollama: FakeOllama, *, patience: float = 1
) -> AsyncIterator[tuple[LiveGateway, FaultProxy]]:
    """A gateway with the deadlines of production times `patience`; the proxy stands between it and Redis."""
    socket = Path(unquote(urlsplit(server.url).path))
    async with FaultProxy("", socket) as proxy:
        stores = Stores(database_url, f"redis://{proxy.address}/0")
        async with live_gateway(stores, ollama.base_url, redis_timeout_s=0.25 * patience) as gateway:
            yield gateway, proxy


class Caller:
    """Sends one request after another, keeps what came back."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self.statuses: Counter[int] = Counter()
        self.seconds: list[float] = []

    async def ask(self) -> httpx.Response:
        began = time.monotonic()
        answer = await self._http.post("/api/chat", json=CHAT)
        self.seconds.append(time.monotonic() - began)
        self.statuses[answer.status_code] += 1
        return answer

    async def until_served(self) -> float:
        began = time.monotonic()
        while (await self.ask()).status_code != OK:
            await asyncio.sleep(0.02)
        return time.monotonic() - began


@pytest.mark.promise("F1", "L6")
@pytest.mark.parametrize("fault", FAULTS, ids=str)
async def test_redis_out_of_order(server: Server, database_url: str, ollama: FakeOllama, fault: Fault) -> None:
    patience = 1 if fault.is_outage else SLACK  # the others may make nobody wait, so a busy machine must not look so
    async with gateway_behind_proxy(server, database_url, ollama, patience=patience) as (gateway, proxy):
        tenancy = await make_tenancy(gateway.services, key_limits=Limits(rpm=1000, concurrent=50))
        patient = Patient(server, proxy, tenancy.tenant.id)
        async with gateway.http(tenancy.key) as http:
            before, during, after = Caller(http), Caller(http), Caller(http)
            for _ in range(2):
                assert (await before.ask()).status_code == OK
            fault.begin(patient)
            try:
                first = await during.ask()
                alone = [await during.ask() for _ in range(5)]
                together = await asyncio.gather(*(during.ask() for _ in range(20)))
                hits_during = len(ollama.hits) - before.statuses[OK]
            finally:
                fault.end(patient)
            back_seconds = await after.until_served()
        await ollama.wait_idle()
    refused = [answer for answer in (first, *alone, *together) if answer.status_code != OK]
    later_seconds = max(during.seconds[1:])
    unadmitted = hits_during - during.statuses[OK]
    print(
        f"F1: {fault}: {unadmitted} unadmitted hits, first answer {during.seconds[0] * 1000:.0f} ms, "
        f"then at most {later_seconds * 1000:.0f} ms, back after {back_seconds:.2f} s; {dict(during.statuses)}"
    )
    assert len(ollama.hits) == sum(caller.statuses[OK] for caller in (before, during, after))
    assert {answer.status_code for answer in refused} <= {UNAVAILABLE}
    assert all("retry-after" in answer.headers for answer in refused)
    if fault.is_outage:
        assert unadmitted == 0
        assert not during.statuses[OK]
        assert during.seconds[0] <= (FIRST_SECONDS if fault.waits else REFUSED_SECONDS) * SLACK
        assert later_seconds <= REFUSED_SECONDS * SLACK
    else:
        assert len(refused) <= 1
    assert back_seconds <= BACK_SECONDS * SLACK


async def as_counted(server: Server, tenant: str, *, requests: int, places: int) -> bool:
    counted = int(server.ask("HGET", f"{tenant}:rates", "requests") or 0)
    return (counted, server.ask("ZCARD", f"{tenant}:leases")) == (requests, places)


@pytest.mark.promise("F1", "L2")
async def test_what_a_slow_redis_admits_too_late_is_taken_back(
    server: Server, database_url: str, ollama: FakeOllama
) -> None:
    """The admission arrives and counts, though its caller has been told 503: the undo follows it."""
    async with gateway_behind_proxy(server, database_url, ollama) as (gateway, proxy):
        tenancy = await make_tenancy(gateway.services, key_limits=Limits(rpm=5, concurrent=1))
        async with gateway.http(tenancy.key) as http:
            caller = Caller(http)
            await caller.until_served()
            proxy.latency(LATE_SECONDS)
            for _ in range(3):
                assert (await caller.ask()).status_code == UNAVAILABLE
                await asyncio.sleep(0.1)
            proxy.heal()
            assert await caller.until_served() <= BACK_SECONDS * SLACK
            tenant = f"nz:{{{tenancy.tenant.id.hex}}}"
            await until(lambda: as_counted(server, tenant, requests=2, places=0))
            answers = [(await caller.ask()).status_code for _ in range(4)]
    assert answers == [OK, OK, OK, 429]
    assert len(ollama.hits) == 5
