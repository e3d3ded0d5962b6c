"""What a gateway process that dies, or stands still, had begun is charged in full by another one, once."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from neuronetz_gateway.wiring import Services
from tests.gateway.test_budgeting import usage_of
from tests.support.factories import Tenancy, make_tenancy
from tests.support.fake_ollama import FakeOllama, Script
from tests.support.forks import Zygote
from tests.support.gateways import (
    GatewayProcess,
    LiveGateway,
    gateway_fork,
    live_gateway,
    make_settings,
    write_env_file,
)
from tests.support.ledgers import until
from tests.support.load import CHAT
from tests.support.stores import Stores

type Two = tuple[GatewayProcess, LiveGateway]
HELD = 5
AFTER_SECONDS, HEARTBEAT_SECONDS = 2.0, 0.2
QUICK: dict[str, Any] = {"heartbeat_s": HEARTBEAT_SECONDS, "lease_s": 1, "recovery_after_s": AFTER_SECONDS}
ENDED = "select outcome, count(*) as rows from audit_log where outcome <> 'refused' group by 1"
ABANDONED = "select charged_tokens, reserved_tokens, estimated from audit_log where outcome = 'abandoned'"


@pytest.fixture
async def two_quick(zygote: Zygote, stores: Stores, ollama: FakeOllama, tmp_path: Path) -> AsyncIterator[Two]:
    """A gateway process, one in the test's own loop: they notice within two seconds what takes them a minute else."""
    ollama.script = Script(tokens=100_000, gap_seconds=0.05)
    env_file = write_env_file(tmp_path / "gateway.env", make_settings(stores, ollama.base_url, **QUICK))
    async with gateway_fork(zygote, env_file) as one, live_gateway(stores, ollama.base_url, **QUICK) as other:
        yield one, other


@asynccontextmanager
async def streams(gateway: GatewayProcess, tenancy: Tenancy) -> AsyncIterator[list[asyncio.Task[str]]]:
    """Answers under way, each with a part arrived; each task tells how its answer ended."""
    async with gateway.http(tenancy.key) as http:
        begun = [asyncio.Event() for _ in range(HELD)]
        reading = [asyncio.create_task(_read(http, each)) for each in begun]
        try:
            await asyncio.wait_for(asyncio.gather(*(each.wait() for each in begun)), 20)
            yield reading
        finally:
            for each in reading:
                each.cancel()
            await asyncio.gather(*reading, return_exceptions=True)


async def _read(http: httpx.AsyncClient, begun: asyncio.Event) -> str:
    last = "nothing"
    try:
        async with http.stream("POST", "/api/chat", json={**CHAT, "stream": True}) as answer:
            async for line in answer.aiter_lines():
                last = line
                begun.set()
    except httpx.TransportError:
        return last
    return "a clean end"


async def abandoned(stores: Stores) -> list[int]:
    """What each of those was charged."""
    rows = await stores.fetch(ABANDONED)
    assert all(row["charged_tokens"] == row["reserved_tokens"] > 0 and row["estimated"] for row in rows)
    return [row["charged_tokens"] for row in rows]


async def all_abandoned(stores: Stores) -> bool:
    return len(await abandoned(stores)) == HELD


@pytest.mark.promise("B6", "D1")
async def test_what_a_killed_gateway_had_begun_is_charged_in_full_by_another(
    two_quick: Two, management: Services, stores: Stores, ollama: FakeOllama
) -> None:
    doomed, other = two_quick
    tenancy = await make_tenancy(management)
    async with streams(doomed, tenancy) as reading:
        used, reserved = await usage_of(stores, tenancy)
        assert used == 0
        doomed.process.kill()
        killed_at = time.monotonic()
        assert "a clean end" not in await asyncio.gather(*reading)
        await until(lambda: all_abandoned(stores))
        seconds = time.monotonic() - killed_at
    assert await usage_of(stores, tenancy) == (reserved, 0)
    assert sum(await abandoned(stores)) == reserved
    assert await stores.fetch("select count(*) as rows from audit_log") == [{"rows": HELD}]
    assert len(ollama.hits) == HELD
    async with other.http() as http:
        assert f'neuronetz_events_total{{event="abandoned"}} {HELD}.0' in (await http.get("/metrics")).text
    assert seconds >= AFTER_SECONDS - 2 * HEARTBEAT_SECONDS
    print(
        f"B6: {HELD} streams of a killed gateway charged in full {seconds:.1f} s after, at {AFTER_SECONDS:.0f} s of age"
    )


@pytest.mark.promise("B6", "D1")
async def test_a_gateway_that_stood_still_too_long_gives_up_what_was_charged_meanwhile_then_serves_on(
    two_quick: Two, management: Services, stores: Stores, ollama: FakeOllama
) -> None:
    paused, _ = two_quick
    tenancy = await make_tenancy(management)
    async with streams(paused, tenancy) as reading:
        reserved = (await usage_of(stores, tenancy))[1]
        paused.process.send_signal(signal.SIGSTOP)
        try:
            await until(lambda: all_abandoned(stores))
        finally:
            paused.process.send_signal(signal.SIGCONT)
        resumed_at = time.monotonic()
        ends = await asyncio.wait_for(asyncio.gather(*reading), 20)
        seconds = time.monotonic() - resumed_at
        assert all("The answer was cut" in end for end in ends), ends
    ollama.script = Script(tokens=3)
    async with paused.http(tenancy.key) as http:
        await until(lambda: _served(http))
    await until(lambda: _nothing_held(stores))
    outcomes = await stores.fetch(ENDED)
    assert {row["outcome"]: row["rows"] for row in outcomes} == {"abandoned": HELD, "completed": 1}
    assert sum(await abandoned(stores)) == reserved
    ((charged),) = await stores.fetch("select sum(charged_tokens)::bigint as used from audit_log")
    assert (await usage_of(stores, tenancy)) == (charged["used"], 0)
    print(f"B6: {HELD} streams of a stopped gateway charged in full, cut {seconds:.1f} s after it went on")


async def _served(http: httpx.AsyncClient) -> bool:
    return (await http.post("/api/chat", json=CHAT)).status_code == httpx.codes.OK


async def _nothing_held(stores: Stores) -> bool:
    return not await stores.fetch("select 1 from reservations")
