"""Every request ends in exactly one audit row."""

import asyncio

import httpx
import pytest

from neuronetz_gateway.domain.limit import Limits
from neuronetz_gateway.wiring import Services
from tests.gateway.test_budgeting import settled
from tests.support.factories import make_tenancy
from tests.support.fake_ollama import FakeOllama, Script
from tests.support.fleet import Member
from tests.support.gateways import LiveGateway
from tests.support.load import CHAT, leave_at_random, statuses_of
from tests.support.stores import Stores


@pytest.mark.promise("D1")
async def test_every_hit_has_one_row_and_every_row_without_a_hit_is_a_refusal(
    two_gateways: tuple[Member, Member], management: Services, stores: Stores, ollama: FakeOllama
) -> None:
    ollama.script = Script(tokens=5, gap_seconds=0.003)
    tenancy = await make_tenancy(management, key_limits=Limits(rpm=500, concurrent=12))
    served, left, _ = await asyncio.gather(
        statuses_of(two_gateways, tenancy.key, 300, at_once=20),
        leave_at_random(two_gateways[0], tenancy.key, 150, seed=1, within_seconds=0.15),
        leave_at_random(two_gateways[1], tenancy.key, 150, seed=2, within_seconds=0.15),
    )
    assert served[200]
    assert left
    await ollama.wait_idle()
    used = await settled(stores, tenancy)
    await _until_rows_rest(stores)
    rows = await stores.fetch("select * from audit_log where tenant_id = $1", tenancy.tenant.id)
    went_up = [row for row in rows if row["outcome"] not in {"refused", "not_forwarded"}]
    assert len({row["id"] for row in rows}) == len(rows)
    assert len(went_up) == len(ollama.hits)
    assert {row["outcome"] for row in went_up} <= {"completed", "caller_left"}
    assert used == sum(row["charged_tokens"] for row in rows)
    assert all(row["charged_tokens"] == 0 for row in rows if row["outcome"] in {"refused", "not_forwarded"})


async def test_a_refusal_of_a_known_key_is_written_down(gateway: LiveGateway, stores: Stores) -> None:
    tenancy = await make_tenancy(gateway.services, models=["fakea:latest"], key_limits=Limits(rpm=1))
    headers = {"x-request-id": "abc-1", "user-agent": "evil\tagent"}
    async with gateway.http(tenancy.key) as http:
        await http.post("/api/chat", json={**CHAT, "model": "fakeb"}, headers=headers)
        await http.post("/api/chat", json=CHAT)
        await http.post("/api/chat", json=CHAT)
    async with asyncio.timeout(5):
        while len(await stores.fetch("select 1 from audit_log")) < 3:
            await asyncio.sleep(0.02)
    rows = await stores.fetch("select * from audit_log order by id")
    by_outcome = {(row["outcome"], row["reason"], row["status"]) for row in rows}
    assert by_outcome == {
        ("refused", "model_not_allowed", 403), ("completed", "", 200), ("refused", "key.rpm", 429),
    }  # fmt: skip
    [forbidden] = [row for row in rows if row["status"] == 403]
    assert forbidden["request_id"] == "abc-1"
    assert forbidden["model"] == "fakeb:latest"
    assert forbidden["user_agent"] == "evil\\tagent"


async def test_routes_that_cost_no_tokens_are_audited_the_same_way(gateway: LiveGateway, stores: Stores) -> None:
    tenancy = await make_tenancy(gateway.services)
    async with gateway.http(tenancy.key) as http:
        assert (await http.get("/api/tags")).status_code == 200
        assert (await http.get("/api/version")).status_code == 200
        assert (await http.get("/v1/models")).status_code == 200
    await settled(stores, tenancy)
    rows = await stores.fetch("select endpoint, outcome, charged_tokens from audit_log")
    assert {row["endpoint"] for row in rows} == {"/api/tags", "/api/version", "/v1/models"}
    assert {(row["outcome"], row["charged_tokens"]) for row in rows} == {("completed", 0)}


async def test_an_upstream_that_is_down_is_a_503_that_costs_nothing(
    gateway: LiveGateway, stores: Stores, ollama: FakeOllama
) -> None:
    tenancy = await make_tenancy(gateway.services, key_limits=Limits(rpm=2))
    await ollama.stop()
    async with gateway.http(tenancy.key) as http:
        answers: list[httpx.Response] = [await http.post("/api/chat", json=CHAT) for _ in range(5)]
    assert {answer.status_code for answer in answers} == {503}
    assert all(answer.headers["retry-after"] for answer in answers)
    assert await settled(stores, tenancy) == 0
    rows = await stores.fetch("select outcome, status from audit_log")
    assert [(row["outcome"], row["status"]) for row in rows] == [("not_forwarded", 503)] * 5


async def _until_rows_rest(stores: Stores) -> None:
    """Refusals are written in batches: wait until their number has stopped to grow."""
    before = -1
    async with asyncio.timeout(10):
        while (count := len(await stores.fetch("select 1 from audit_log"))) != before:
            before = count
            await asyncio.sleep(0.2)
