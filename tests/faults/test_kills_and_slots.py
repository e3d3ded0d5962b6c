"""A killed gateway takes its places under the concurrency limit with it for no longer than a lease."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from neuronetz_gateway.domain.limit import Limits
from neuronetz_gateway.upstream.transport import OllamaTransport
from neuronetz_gateway.wiring import Services
from tests.support.factories import make_tenancy
from tests.support.fake_ollama import FakeOllama, Script
from tests.support.fleet import Member, fleet
from tests.support.forks import Zygote
from tests.support.gateways import make_settings, write_env_file
from tests.support.load import CHAT
from tests.support.stores import Stores

STREAMS = 50
LOOK_SECONDS = 0.05
ASKING_SECONDS = 3.0  # fifty streams take their time on a busy machine; the places themselves are to be free in time
STREAM: dict[str, Any] = {**CHAT, "stream": True}


async def hold(http: httpx.AsyncClient) -> None:
    """A place, as soon as there is one, until the gateway is gone or the test over."""
    while True:
        async with http.stream("POST", "/api/chat", json=STREAM) as answer:
            if answer.status_code == httpx.codes.OK:
                async for _ in answer.aiter_raw():
                    pass
                return
            assert answer.status_code == httpx.codes.TOO_MANY_REQUESTS
        await asyncio.sleep(LOOK_SECONDS)


@asynccontextmanager
async def holding(member: Member, key: str, ollama: FakeOllama) -> AsyncIterator[list[asyncio.Task[None]]]:
    """All places held through one gateway, asked for when there is one; let go on leaving."""
    # httpx's own transport loses connections whose callers are cancelled, which a gateway then waits for
    async with member.http(key, transport=OllamaTransport()) as http:
        tasks = [asyncio.create_task(hold(http))]
        await ollama.wait_for(lambda: ollama.in_flight == 1, 60)
        tasks += [asyncio.create_task(hold(http)) for _ in range(STREAMS - 1)]
        await ollama.wait_for(lambda: ollama.in_flight == STREAMS, 60)
        try:
            yield tasks
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def slots_come_back(
    zygote: Zygote, management: Services, stores: Stores, ollama: FakeOllama, env_path: Path, **leases: float
) -> None:
    ollama.script = Script(tokens=3, gate=asyncio.Event(), gate_after_records=1)
    tenancy = await make_tenancy(
        management, tenant_limits=Limits(concurrent=STREAMS), key_limits=Limits(concurrent=STREAMS)
    )
    settings = make_settings(stores, ollama.base_url, **leases)
    async with fleet(zygote, write_env_file(env_path, settings), 2) as gateways:
        one, other = gateways.members
        async with holding(one, tenancy.key, ollama) as held:
            async with other.http(tenancy.key) as http:
                refused = await http.post("/api/chat", json=STREAM)
            assert refused.status_code == httpx.codes.TOO_MANY_REQUESTS
            killed = time.monotonic()
            await gateways.kill(0)
            ended = await asyncio.gather(*held, return_exceptions=True)
            assert all(isinstance(error, httpx.TransportError) for error in ended), ended
        await ollama.wait_idle()
        async with holding(other, tenancy.key, ollama):
            took = time.monotonic() - killed
    print(f"L5: kill -9 with {STREAMS} streams: all slots back after {took:.1f} s, the lease is {settings.lease_s} s")
    assert ollama.max_in_flight == STREAMS
    assert took <= settings.lease_s + ASKING_SECONDS


@pytest.mark.promise("L5", "L4")
async def test_50_slots_of_a_killed_gateway_are_back_within_a_lease_of_3_seconds(
    zygote: Zygote, management: Services, stores: Stores, ollama: FakeOllama, env_path: Path
) -> None:
    await slots_come_back(zygote, management, stores, ollama, env_path, lease_s=3, heartbeat_s=0.5)


@pytest.mark.full
@pytest.mark.promise("L5", "L4")
async def test_50_slots_of_a_killed_gateway_are_back_within_30_seconds(
    zygote: Zygote, management: Services, stores: Stores, ollama: FakeOllama, env_path: Path
) -> None:
    await slots_come_back(zygote, management, stores, ollama, env_path)
