"""Callers who hardly read hold little, not for long, at nobody else's expense."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest

from neuronetz_gateway.domain.limit import Limits
from neuronetz_gateway.http.caller_connection import CallerConnection
from neuronetz_gateway.wiring import Services
from tests.gateway.test_budgeting import settled
from tests.gateway.test_caller_connections import request
from tests.support.factories import Tenancy, make_tenancy
from tests.support.fake_ollama import Ended, FakeOllama, Script
from tests.support.forks import Zygote
from tests.support.gateways import GatewayProcess, gateway_fork, live_gateway, make_settings, write_env_file
from tests.support.load import CHAT, statuses_of
from tests.support.slow_readers import SlowReaders, resident_bytes, slow_readers
from tests.support.stores import Stores

ENDLESS = orjson.dumps({**CHAT, "stream": True, "options": {"num_predict": 1_000_000}})
FLOOD = Script(tokens=1_000_000, words=("x" * 4000,))
OTHERS = "fakeb"
MOST_BYTES = 128 * 1024
STALL_SECONDS = CallerConnection.stall_seconds
LOOKS = 1.1  # a tenth of the time passes between two looks
FILL_SECONDS = 20  # until two hundred of them have as much waiting as can


class ImpatientConnection(CallerConnection):
    stall_seconds = 1.5


@pytest.fixture
async def ollama() -> AsyncIterator[FakeOllama]:
    """One that soon notices that nobody takes what it says."""
    async with FakeOllama(send_buffer_bytes=64 * 1024) as fake:
        yield fake


async def until_stalled(ollama: FakeOllama, count: int) -> None:
    """Return when the model server can hand over nothing more to any of so many."""
    await ollama.wait_for(lambda: ollama.in_flight == count, 60)
    sent = -1
    while sent != (sent := sum(hit.records_sent for hit in ollama.hits)):
        await asyncio.sleep(0.5)


async def others(gateway: GatewayProcess, tenancy: Tenancy, count: int) -> Counter[int]:
    """What everybody else is answered meanwhile, on models that are not flooded."""
    return await statuses_of([gateway], tenancy.key, count, body={**CHAT, "model": OTHERS}, at_once=10)


async def bytes_each(gateway: GatewayProcess, readers: SlowReaders, ollama: FakeOllama, key: str, count: int) -> float:
    """How much memory each of so many more readers takes, once all that can wait for them does."""
    before = resident_bytes(gateway.process.pid)
    await readers.ask(request("/api/chat", key, ENDLESS), count)
    await until_stalled(ollama, count)
    return (resident_bytes(gateway.process.pid) - before) / count


@pytest.mark.promise("S4")
async def test_slow_readers_hold_little_memory(
    zygote: Zygote, management: Services, stores: Stores, ollama: FakeOllama, env_path: Path
) -> None:
    """In its own buffers the gateway held up to 300 KiB for each, beside 2.8 MB that Linux took for each."""
    settings = make_settings(stores, ollama.base_url, max_output_tokens=1_000_000)
    ollama.for_model("fakea:latest", FLOOD)
    tenancy = await make_tenancy(management)
    async with gateway_fork(zygote, write_env_file(env_path, settings)) as gateway:
        await others(gateway, tenancy, 200)  # what the process takes for itself it has by then
        async with slow_readers(gateway.base_url) as readers:
            each = await bytes_each(gateway, readers, ollama, tenancy.key, 25)
            assert await others(gateway, tenancy, 50) == {200: 50}
            assert len(readers.uncut) == 25
    print(f"S4: 25 readers at 1 byte/s hold {each / 1024:.0f} KiB each")
    assert each <= MOST_BYTES


@pytest.mark.promise("S4")
async def test_slow_readers_are_cut_after_the_time_without_progress(stores: Stores, ollama: FakeOllama) -> None:
    ollama.for_model("fakea:latest", FLOOD)
    stall = ImpatientConnection.stall_seconds
    async with live_gateway(
        stores, ollama.base_url, protocol=ImpatientConnection, max_output_tokens=1_000_000
    ) as gateway:
        tenancy = await make_tenancy(gateway.services, key_limits=Limits(concurrent=20))
        async with slow_readers(gateway.base_url, every_seconds=0.01) as readers:
            await readers.ask(request("/api/chat", tenancy.key, ENDLESS), 20)
            await ollama.wait_for(lambda: ollama.in_flight == 20)
            began = time.monotonic()
            await readers.all_cut(20)
            assert min(reader.cut_at or 0 for reader in readers.readers) - began >= stall
            assert min(reader.received_bytes for reader in readers.readers) > 0
        await settled(stores, tenancy)
        assert gateway.services.limiter.open_admissions == 0
        assert await statuses_of([gateway], tenancy.key, 20, body={**CHAT, "model": OTHERS}, at_once=20) == {200: 20}
    assert {hit.ended for hit in ollama.hits if hit.model == "fakea:latest"} == {Ended.CALLER_LEFT}
    rows = await stores.fetch("select charged_tokens from audit_log where outcome = 'caller_left'")
    assert len(rows) == 20
    assert all(row["charged_tokens"] > 0 for row in rows)


@pytest.mark.promise("S4")
async def test_a_reader_who_is_slow_but_steady_is_not_cut(stores: Stores, ollama: FakeOllama) -> None:
    """Progress was what left the gateway's own buffer, which Linux empties a third of its 2.8 MB at a time: whoever
    read 10 kB/s had taken nothing for 90 s, so was cut after 60 s amidst a good answer."""
    ollama.script = Script(tokens=200, words=("x" * 4000,))
    async with live_gateway(stores, ollama.base_url, protocol=ImpatientConnection) as gateway:
        tenancy = await make_tenancy(gateway.services)
        received = 0
        async with slow_readers(gateway.base_url, every_seconds=3600) as readers:
            await readers.ask(request("/api/chat", tenancy.key, ENDLESS, "Connection: close"), 1)
            loop, connected = asyncio.get_running_loop(), readers.readers[0].connected
            began = time.monotonic()
            slowly = True
            while piece := await loop.sock_recv(connected, 2_000 if slowly else 50_000):
                received += len(piece)
                slowly = time.monotonic() - began < 4 * ImpatientConnection.stall_seconds
                await asyncio.sleep(0.05 if slowly else 0)
        assert received > 800_000
        await settled(stores, tenancy)
    assert [row["outcome"] for row in await stores.fetch("select outcome from audit_log")] == ["completed"]


@pytest.mark.full
@pytest.mark.promise("S4")
@pytest.mark.timeout(300)
async def test_two_hundred_slow_readers_for_a_minute(
    zygote: Zygote, management: Services, stores: Stores, ollama: FakeOllama, env_path: Path
) -> None:
    settings = make_settings(stores, ollama.base_url, max_output_tokens=1_000_000)
    ollama.for_model("fakea:latest", FLOOD)
    tenancy, other = await make_tenancy(management), await make_tenancy(management)
    async with gateway_fork(zygote, write_env_file(env_path, settings)) as gateway:
        await others(gateway, other, 500)
        async with slow_readers(gateway.base_url) as readers:
            asked_at, served = time.monotonic(), Counter[int]()
            each = await bytes_each(gateway, readers, ollama, tenancy.key, 200)
            cut = asyncio.create_task(readers.all_cut(3 * STALL_SECONDS))
            while not cut.done():
                served += await others(gateway, other, 20)
                await asyncio.sleep(0.2)
            await cut
            ends = [(reader.cut_at or 0) - asked_at for reader in readers.readers]
        await settled(stores, tenancy)
    figures = f"hold {each / 1024:.0f} KiB each, were cut after {min(ends):.0f} to {max(ends):.0f} s"
    print(f"S4: 200 readers at 1 byte/s {figures}; others meanwhile: {dict(served)}")
    assert each <= MOST_BYTES
    assert min(ends) >= STALL_SECONDS
    assert max(ends) <= STALL_SECONDS * LOOKS + FILL_SECONDS
    assert set(served) == {200}
    rows = await stores.fetch("select outcome from audit_log where tenant_id = $1", tenancy.tenant.id)
    assert [row["outcome"] for row in rows] == ["caller_left"] * 200
