"""Postgres is away for long, under load: callers are told at once, memory stays, nothing that ran is lost."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles

import httpx
import pytest

from neuronetz_gateway.upstream.transport import OllamaTransport
from neuronetz_gateway.wiring import Services
from tests.support.factories import make_tenancy
from tests.support.fake_ollama import FakeOllama
from tests.support.fake_ollama_script import Script
from tests.support.faulty_stores import FaultyStores, faulty_stores
from tests.support.forks import Zygote
from tests.support.gateways import GatewayProcess, gateway_fork, make_settings, write_env_file
from tests.support.ledgers import until
from tests.support.load import CHAT
from tests.support.stores import Stores

LANES = 16
RUNNING = 20
MEMORY_MIB = 50
FIRST_SECONDS, BACK_SECONDS, SLACK = 1, 5, 3
WARM_SECONDS = 2.0
LOOK_SECONDS = 0.1
GAP_SECONDS = 0.25
TIMES = {
    "ledger_timeout_s": 0.9,
    "database_statement_timeout_s": 2,
    "database_connect_timeout_s": 2,
    "redis_timeout_s": 0.25,
}


@dataclass(slots=True)
class Load:
    """Callers who ask again as soon as they are answered."""

    gateway: GatewayProcess
    key: str
    statuses: Counter[int] = field(default_factory=Counter)
    refused: list[tuple[float, float]] = field(default_factory=list)  # when each was asked, when it was told
    without_hint: int = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        lanes = [asyncio.create_task(self._lane()) for _ in range(LANES)]
        yield
        for lane in lanes:
            lane.cancel()
        await asyncio.gather(*lanes, return_exceptions=True)

    def forget(self) -> None:
        self.statuses.clear()
        self.refused.clear()

    async def _lane(self) -> None:
        async with self.gateway.http(self.key, transport=OllamaTransport()) as http:
            while True:
                began = time.monotonic()
                answer = await http.post("/api/chat", json=CHAT)
                self.statuses[answer.status_code] += 1
                if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
                    self.refused.append((began, time.monotonic()))
                self.without_hint += answer.status_code != httpx.codes.OK and "retry-after" not in answer.headers


class Memory:
    """What a process has of its own, in MiB; the most of it since `begin`."""

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/status")
        self.before = self.most = self.now()

    def now(self) -> float:
        lines = dict(line.split(":", 1) for line in self._status.read_text().splitlines())
        return int(lines["RssAnon"].split()[0]) / 1024

    async def watch(self, seconds: float) -> None:
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            await asyncio.sleep(LOOK_SECONDS)
            self.most = max(self.most, self.now())


async def _stream(http: httpx.AsyncClient, begun: asyncio.Event) -> bytes:
    last = b""
    async with http.stream("POST", "/api/chat", json={**CHAT, "stream": True}) as answer:
        async for piece in answer.aiter_raw():
            begun.set()
            last = piece
    return last


async def _outage(faulty: FaultyStores, load: Load, memory: Memory, ollama: FakeOllama, seconds: float) -> int:
    """Half of it hangs, half of it refuses; how many went up meanwhile."""
    before = len(ollama.hits)
    load.forget()
    faulty.postgres.hang(keep=False)
    await memory.watch(seconds / 2)
    faulty.postgres.refuse()
    await memory.watch(seconds / 2)
    return len(ollama.hits) - before


@pytest.mark.promise("D2")
@pytest.mark.parametrize(
    "seconds",
    [pytest.param(4, id="4s"), pytest.param(300, id="300s", marks=[pytest.mark.full, pytest.mark.timeout(500)])],
)
async def test_an_outage_under_load_costs_no_memory_and_no_stream(
    zygote: Zygote, seconds: float, stores: Stores, management: Services, ollama: FakeOllama, env_path: Path
) -> None:
    tenancy = await make_tenancy(management)
    async with faulty_stores(stores, ollama) as faulty:
        settings = make_settings(faulty.stores, faulty.upstream_url, **TIMES)
        async with gateway_fork(zygote, write_env_file(env_path, settings)) as gateway:
            load = Load(gateway, tenancy.key)
            begun = [asyncio.Event() for _ in range(RUNNING)]
            tokens = int((WARM_SECONDS + seconds * 0.8) / GAP_SECONDS)  # they end while Postgres is away
            ollama.next(*(Script(tokens=tokens, gap_seconds=GAP_SECONDS) for _ in begun))
            async with gateway.http(tenancy.key) as http:
                streams = [asyncio.create_task(_stream(http, event)) for event in begun]
                await asyncio.gather(*(event.wait() for event in begun))
                async with load.running():
                    await asyncio.sleep(WARM_SECONDS)
                    warm = load.statuses[httpx.codes.OK]
                    memory = Memory(gateway.process.pid)
                    went_up = await _outage(faulty, load, memory, ollama, seconds)
                    refused = tuple(load.refused)
                    ends = await asyncio.gather(*streams)
                    load.forget()
                    faulty.heal()
                    healed = time.monotonic()
                    await until(lambda: _is(load.statuses[httpx.codes.OK] > 0))
                    back = time.monotonic() - healed
                assert load.without_hint == 0
            await until(lambda: _settled(stores))
    grown = memory.most - memory.before
    known_at = min(told for _, told in refused)
    first = max(told - asked for asked, told in refused if asked < known_at)
    hundredths = quantiles((told - asked for asked, told in refused if asked >= known_at), n=100)
    print(
        f"D2: {seconds:.0f} s away, half hanging, half refusing: {warm} served before, {len(refused)} refused, "
        f"{went_up} went up; first 503 after {first:.2f} s, then {hundredths[49] * 1000:.0f} ms (99 %: "
        f"{hundredths[98] * 1000:.0f} ms); memory {memory.before:.0f} MiB + {grown:.1f} MiB; back after {back:.2f} s"
    )
    assert all(b'"done":true' in last for last in ends)
    assert went_up <= LANES, "only what had been reserved when it began"
    assert len(refused) > 100
    assert first < FIRST_SECONDS * SLACK
    assert hundredths[98] < FIRST_SECONDS * SLACK
    assert back < BACK_SECONDS * SLACK
    assert grown <= MEMORY_MIB
    (sums,) = await stores.fetch(
        "select (select sum(charged_tokens) from audit_log) as charged, (select used from budget_usage "
        "where period = 'total' and scope_id = $1) as used, (select sum(reserved) from budget_usage) as reserved, "
        "(select sum(occurrences) from audit_log where outcome = 'refused') as refused",
        tenancy.tenant.id,
    )
    assert sums["used"] == sums["charged"]
    assert sums["reserved"] == 0
    (rows,) = await stores.fetch("select count(*) from audit_log where outcome not in ('refused', 'not_forwarded')")
    assert rows["count"] == len(ollama.hits)
    print(f"D2: rows for all of the {rows['count']} hits; {sums['refused']} refusals counted")


async def _settled(stores: Stores) -> bool:
    return not await stores.fetch("select 1 from reservations limit 1")


async def _is(truth: bool) -> bool:
    return truth
