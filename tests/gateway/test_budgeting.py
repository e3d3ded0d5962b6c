"""Budgets hold to the token, at the gateway's own front door."""

import asyncio
import contextlib
from typing import Any

import httpx
import pytest

from neuronetz_gateway.domain.budget import Period
from neuronetz_gateway.surfaces.surface import Endpoint
from neuronetz_gateway.wiring import Services
from tests.support.factories import Tenancy, make_tenancy
from tests.support.fake_ollama import FakeOllama, Fault, Script
from tests.support.fleet import Member
from tests.support.gateways import LiveGateway
from tests.support.load import CHAT, statuses_of
from tests.support.stores import Stores
from tests.support.valid_bodies import STREAMING, asking, name_of

BOUNDED: dict[str, Any] = {**CHAT, "options": {"num_predict": 100}}


async def usage_of(stores: Stores, tenancy: Tenancy) -> tuple[int, int]:
    """Used and reserved tokens of a tenant in total."""
    rows = await stores.fetch(
        "select used, reserved from budget_usage where scope_id = $1 and period = 'total'", tenancy.tenant.id
    )
    return (rows[0]["used"], rows[0]["reserved"]) if rows else (0, 0)


async def settled(stores: Stores, tenancy: Tenancy) -> int:
    """Wait until nothing is held any more; what was used."""
    async with asyncio.timeout(10):
        while await stores.fetch("select 1 from reservations where tenant_id = $1", tenancy.tenant.id):
            await asyncio.sleep(0.02)
    used, reserved = await usage_of(stores, tenancy)
    assert reserved == 0
    return used


async def bound_of(gateway: LiveGateway, stores: Stores) -> int:
    """The prompt bound of the request that these tests send, as the ledger states it."""
    tenancy = await make_tenancy(gateway.services, budget={Period.TOTAL: 1})
    async with gateway.http(tenancy.key) as http:
        answer = await http.post("/api/chat", json=BOUNDED)
    del stores
    return int(answer.json()["error"].split("prompt up to ")[1].split()[0].replace(",", ""))


@pytest.mark.promise("B1")
async def test_of_a_crowd_with_room_for_one_exactly_one_passes(
    gateway: LiveGateway, stores: Stores, ollama: FakeOllama
) -> None:
    bound = await bound_of(gateway, stores)
    tenancy = await make_tenancy(gateway.services, budget={Period.TOTAL: bound + 100})
    ollama.script = gated = Script(tokens=100, gate=asyncio.Event())
    crowd = asyncio.create_task(statuses_of([gateway], tenancy.key, 200, body=BOUNDED))
    await ollama.wait_for(lambda: ollama.in_flight == 1)
    async with asyncio.timeout(20):
        while len(await stores.fetch("select 1 from audit_log where tenant_id = $1", tenancy.tenant.id)) < 199:
            await asyncio.sleep(0.05)
    assert gated.gate is not None
    gated.gate.set()
    assert await crowd == {200: 1, 429: 199}
    assert len(ollama.hits) == 1
    assert await settled(stores, tenancy) <= bound + 100


@pytest.mark.promise("B1")
async def test_of_a_crowd_over_two_processes_nobody_overshoots(
    two_gateways: tuple[Member, Member], management: Services, stores: Stores, ollama: FakeOllama
) -> None:
    limit = 5_000
    tenancy = await make_tenancy(management, budget={Period.DAILY: limit})
    ollama.script = Script(tokens=100)
    seen = await statuses_of(two_gateways, tenancy.key, 500, body=BOUNDED)
    assert set(seen) == {200, 429}
    assert seen[200] == len(ollama.hits)
    used = await settled(stores, tenancy)
    assert used <= limit
    assert used == sum(hit.prompt_tokens + hit.tokens_generated for hit in ollama.hits)


@pytest.mark.promise("B2", "B7")
async def test_used_is_the_sum_of_all_outcomes(gateway: LiveGateway, stores: Stores, ollama: FakeOllama) -> None:
    tenancy = await make_tenancy(gateway.services)
    scripts = [
        Script(tokens=7),
        Script(status=500),
        Script(status=404),
        Script(tokens=7, omit_usage=True),
        Script(tokens=7, zero_usage=True),
        Script(tokens=7, fault=Fault.SILENT_END, fault_after_records=3),
        Script(tokens=7, fault=Fault.ERROR_RECORD, fault_after_records=3),
        Script(tokens=7, fault=Fault.RESET, fault_after_records=3),
    ]
    async with gateway.http(tenancy.key) as http:
        for script in scripts * 5:
            for streamed in (True, False):
                ollama.next(script)
                with contextlib.suppress(httpx.TransportError):  # a broken stream never ends cleanly
                    await http.post("/api/chat", json={**BOUNDED, "stream": streamed})
    used = await settled(stores, tenancy)
    rows = await stores.fetch(
        "select outcome, estimated, charged_tokens, prompt_tokens, output_tokens from audit_log where tenant_id = $1",
        tenancy.tenant.id,
    )
    assert len(rows) == len(ollama.hits) == 80
    assert used == sum(row["charged_tokens"] for row in rows)
    for row in rows:
        refused = row["outcome"] == "upstream_refused"
        assert (row["charged_tokens"] == 0) is refused, row
        assert row["charged_tokens"] == row["prompt_tokens"] + row["output_tokens"]
    broken = [row for row in rows if row["outcome"] == "upstream_broken"]
    assert broken
    assert all(row["estimated"] for row in broken)


async def test_the_cap_that_was_granted_is_what_the_model_is_told(gateway: LiveGateway, ollama: FakeOllama) -> None:
    """A caller who asks for nothing in particular must not get an endless answer."""
    tenancy = await make_tenancy(gateway.services)
    async with gateway.http(tenancy.key) as http:
        await http.post("/api/chat", json=CHAT)
        await http.post("/api/chat", json={**CHAT, "options": {"num_predict": -1}})
        await http.post("/api/chat", json={**CHAT, "options": {"num_predict": 9_999_999}})
        await http.post("/v1/chat/completions", json={**CHAT, "max_completion_tokens": 17})
    caps = [seen.json["options"]["num_predict"] for seen in ollama.hits[:3]]
    assert caps == [4096, 4096, 4096]
    assert ollama.hits[3].json["max_tokens"] == 17
    assert "max_completion_tokens" not in ollama.hits[3].json


async def test_what_is_left_of_a_budget_caps_the_answer(
    gateway: LiveGateway, stores: Stores, ollama: FakeOllama
) -> None:
    bound = await bound_of(gateway, stores)
    tenancy = await make_tenancy(gateway.services, budget={Period.MONTHLY: bound + 30})
    async with gateway.http(tenancy.key) as http:
        assert (await http.post("/api/chat", json=BOUNDED)).status_code == 200
    assert ollama.hits[0].json["options"]["num_predict"] == 30


@pytest.mark.parametrize("endpoint", STREAMING, ids=name_of)
async def test_an_answer_that_goes_past_its_reservation_is_cut(
    gateway: LiveGateway, stores: Stores, ollama: FakeOllama, endpoint: Endpoint
) -> None:
    """Two completions for one request (OLLAMA §3.3) generate more than the cap that was written into it."""
    ollama.script = Script(tokens=10, overrun_tokens=50, gap_seconds=0.002, words=(" w",))
    tenancy = await make_tenancy(gateway.services)
    received = b""
    async with gateway.http(tenancy.key) as http:
        with pytest.raises(httpx.RemoteProtocolError):
            async with http.stream("POST", endpoint.path, json=asking(endpoint, 10, stream=True)) as answer:
                async for chunk in answer.aiter_raw():
                    received += chunk
    assert received.count(b'" w"') == 10
    assert b"went past what was reserved" in received[received.rindex(b'" w"') :]
    used = await settled(stores, tenancy)
    [row] = await stores.fetch("select * from audit_log where tenant_id = $1", tenancy.tenant.id)
    assert (row["outcome"], row["estimated"], row["charged_tokens"]) == ("cut", True, used)
    assert row["output_tokens"] == 11, "the record that went past was generated as well"
    assert ollama.hits[0].tokens_generated < 60
