"""A caller who leaves takes his request with him, in every phase."""

import asyncio
from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from tests.gateway.test_budgeting import settled
from tests.support.factories import Tenancy, make_tenancy
from tests.support.fake_ollama import Ended, FakeOllama, Script, Seen
from tests.support.gateways import LiveGateway
from tests.support.load import CHAT, leave_at_random, statuses_of
from tests.support.stores import Stores

AT_MOST_SECONDS = 1.0 + 1.0  # as promised, with the slack of a busy machine
PHASES: dict[str, tuple[bool, Callable[[asyncio.Event], Script]]] = {
    "before the first byte": (True, lambda gate: Script(gate=gate)),
    "mid-stream": (True, lambda gate: Script(tokens=50, gate=gate, gate_after_records=3)),
    "not streamed": (False, lambda gate: Script(gate=gate)),
}


@pytest.mark.promise("S1")
@pytest.mark.parametrize("phase", PHASES)
async def test_the_upstream_is_given_up_within_a_second(
    gateway: LiveGateway, stores: Stores, ollama: FakeOllama, phase: str
) -> None:
    streamed, scripted = PHASES[phase]
    tenancy = await make_tenancy(gateway.services)
    for _ in range(10):
        ollama.next(scripted(asyncio.Event()))
        before = len(ollama.hits)
        asked = asyncio.create_task(_ask(gateway, tenancy, streamed=streamed))
        seen = (await _until_seen(ollama, before, records=3 if phase == "mid-stream" else 0))[before]
        left_at = asyncio.get_running_loop().time()
        asked.cancel()
        await _until_closed(ollama, before)
        assert seen.closed_at is not None
        assert seen.closed_at - left_at <= AT_MOST_SECONDS
        assert seen.ended is Ended.CALLER_LEFT
    async with asyncio.timeout(5):
        await settled(stores, tenancy)
    rows = await stores.fetch("select outcome, charged_tokens, estimated from audit_log")
    assert [(row["outcome"], row["estimated"]) for row in rows] == [("caller_left", True)] * 10
    assert all(row["charged_tokens"] > 0 for row in rows)


@pytest.mark.promise("S1")
async def test_a_caller_who_leaves_while_uploading_holds_nothing(
    gateway: LiveGateway, stores: Stores, ollama: FakeOllama
) -> None:
    tenancy = await make_tenancy(gateway.services)
    half_sent = asyncio.Event()

    async def half() -> AsyncIterator[bytes]:
        yield b'{"model":"fakea","messages":'
        half_sent.set()
        await asyncio.Event().wait()

    async with gateway.http(tenancy.key) as http:
        asked = asyncio.create_task(http.post("/api/chat", content=half()))
        await half_sent.wait()
        await asyncio.sleep(0.05)  # let the half arrive; nothing tells when it has
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
    assert not ollama.requests
    assert not await stores.fetch("select 1 from reservations")
    assert gateway.services.limiter.open_admissions == 0


@pytest.mark.promise("S2")
@pytest.mark.timeout(180)
async def test_after_a_thousand_leavers_everybody_is_served_on_no_more_connections(
    gateway: LiveGateway, stores: Stores, ollama: FakeOllama
) -> None:
    """httpx 0.28 with httpcore 1.0.9 loses its whole pool here; that is why the transport is our own."""
    ollama.script = Script(tokens=8, gap_seconds=0.002)
    tenancy = await make_tenancy(gateway.services)
    assert await leave_at_random(gateway, tenancy.key, 1000, seed=3, within_seconds=0.06) > 300
    await ollama.wait_idle()
    await settled(stores, tenancy)
    assert await statuses_of([gateway], tenancy.key, 100, at_once=10) == {200: 100}
    await ollama.wait_idle()
    # Ten lanes; on a slow machine a lane asks again while the gateway still ends what it left, a few times over.
    assert ollama.connections_open <= 40
    assert gateway.services.limiter.open_admissions == 0


async def _ask(gateway: LiveGateway, tenancy: Tenancy, *, streamed: bool) -> None:
    async with (
        gateway.http(tenancy.key) as http,
        http.stream("POST", "/api/chat", json={**CHAT, "stream": streamed}) as answer,
    ):
        async for _ in answer.aiter_raw():
            pass


async def _until_closed(ollama: FakeOllama, number: int) -> None:
    await ollama.wait_for(lambda: ollama.hits[number].closed_at is not None, timeout_seconds=3)


async def _until_seen(ollama: FakeOllama, before: int, *, records: int) -> list[Seen]:
    await ollama.wait_for(lambda: len(ollama.hits) > before and ollama.hits[before].records_sent >= records)
    return list(ollama.hits)


@pytest.mark.promise("S1")
async def test_half_a_second_of_silence_does_not_look_like_leaving(gateway: LiveGateway, ollama: FakeOllama) -> None:
    ollama.script = Script(delay_before_head_seconds=0.5)
    tenancy = await make_tenancy(gateway.services)
    async with gateway.http(tenancy.key) as http:
        answer: httpx.Response = await http.post("/api/chat", json=CHAT)
    assert answer.status_code == 200


@pytest.mark.promise("S1", "D1")
async def test_a_caller_who_leaves_while_it_waits_for_the_ledger_keeps_nothing(
    gateway: LiveGateway, stores: Stores, ollama: FakeOllama
) -> None:
    """Nothing tells of its leaving before the relay; from there on the model server is given up as ever."""
    tenancy = await make_tenancy(gateway.services)
    async with stores.transaction() as other:
        await other.execute("lock table reservations in exclusive mode")
        asked = [asyncio.create_task(_ask(gateway, tenancy, streamed=streamed)) for streamed in (True, False) * 5]
        async with asyncio.timeout(5):
            while gateway.services.ledger.pending < len(asked):
                await asyncio.sleep(0.01)
        for each in asked:
            each.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        ollama.script = Script(gate=asyncio.Event())
    left_at = asyncio.get_running_loop().time()
    async with asyncio.timeout(5):
        while gateway.services.limiter.open_admissions:
            await asyncio.sleep(0.01)
        await settled(stores, tenancy)
    assert all(hit.closed_at is not None and hit.closed_at - left_at <= 1.0 for hit in ollama.hits)
    rows = await stores.fetch("select outcome from audit_log")
    assert len(rows) == len(asked)
    assert {row["outcome"] for row in rows} <= {"caller_left", "not_forwarded"}
    assert sum(row["outcome"] == "caller_left" for row in rows) == len(ollama.hits)
