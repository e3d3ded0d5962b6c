"""How much is held for a prompt follows what is known of its model; what it really was is charged."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from neuronetz_gateway.domain.budget import Period
from tests.gateway.test_budgeting import settled
from tests.support.factories import make_tenancy
from tests.support.fake_ollama import FakeOllama, Script
from tests.support.gateways import LiveGateway, live_gateway
from tests.support.load import CHAT
from tests.support.stores import Stores

BOUNDED: dict[str, Any] = {**CHAT, "options": {"num_predict": 10}}
DEFAULT_TOKENS = 1024


async def reserved(gateway: LiveGateway, stores: Stores, path: str, body: dict[str, Any]) -> int:
    """What the ledger held for one served request."""
    tenancy = await make_tenancy(gateway.services)
    async with gateway.http(tenancy.key) as http:
        answer = await http.post(path, json=body)
    assert answer.status_code == 200, answer.text
    await settled(stores, tenancy)
    [row] = await stores.fetch("select reserved_tokens from audit_log where tenant_id = $1", tenancy.tenant.id)
    return int(row["reserved_tokens"])


@pytest.mark.promise("B1")
async def test_a_long_system_prompt_of_the_model_raises_what_is_held(
    gateway: LiveGateway, stores: Stores, ollama: FakeOllama
) -> None:
    ollama.models = ("fakea:latest", "fakeb:latest")
    ollama.shows("fakea:latest", system="x" * 20_000, messages=[], parameters="", model_info={})
    before = await reserved(gateway, stores, "/api/chat", BOUNDED)
    await gateway.services.model_knowledge.refresh()
    assert await reserved(gateway, stores, "/api/chat", BOUNDED) == before + 20_000
    tenancy = await make_tenancy(gateway.services, budget={Period.TOTAL: before + 19_000})
    hits = len(ollama.hits)
    async with gateway.http(tenancy.key) as http:
        answer = await http.post("/api/chat", json=BOUNDED)
    assert answer.status_code == 429
    assert f"prompt up to {before + 20_000 - 10:,}" in answer.json()["error"]
    assert len(ollama.hits) == hits


async def test_the_context_of_the_model_is_the_most_that_is_held(
    gateway: LiveGateway, stores: Stores, ollama: FakeOllama
) -> None:
    ollama.shows("fakea:latest", system="", messages=[], parameters="num_ctx 4096")
    long: dict[str, Any] = {**BOUNDED, "messages": [{"role": "user", "content": "word " * 10_000}]}
    assert await reserved(gateway, stores, "/api/chat", long) > 50_000
    await gateway.services.model_knowledge.refresh()
    assert await reserved(gateway, stores, "/api/chat", long) == 4096 + 10
    tenancy = await make_tenancy(gateway.services, budget={Period.TOTAL: 4096 + 1})
    async with gateway.http(tenancy.key) as http:
        assert (await http.post("/api/chat", json=long)).status_code == 200
    assert ollama.hits[-1].json["options"]["num_predict"] == 1


@pytest.fixture
async def knowing(stores: Stores, ollama: FakeOllama) -> AsyncIterator[LiveGateway]:
    async with live_gateway(stores, ollama.base_url, model_facts_refresh_s=0.05) as live:
        yield live


async def test_a_gateway_learns_of_its_models_by_itself(knowing: LiveGateway, ollama: FakeOllama) -> None:
    knowledge = knowing.services.model_knowledge
    async with asyncio.timeout(5):
        while knowledge.facts_of("fakea:latest") is None:
            await asyncio.sleep(0.01)
        ollama.shows("fakea:latest", system="x" * 20_000, messages=[])
        while (facts := knowledge.facts_of("fakea:latest")) is None or facts.template_tokens != 20_000 + DEFAULT_TOKENS:
            await asyncio.sleep(0.01)
    assert not ollama.hits


async def test_no_request_makes_the_gateway_ask(gateway: LiveGateway, ollama: FakeOllama) -> None:
    tenancy = await make_tenancy(gateway.services)
    async with gateway.http(tenancy.key) as http:
        await http.post("/api/chat", json=CHAT)
        await http.post("/api/chat", json={**CHAT, "model": "nothing"})
    assert [seen.route for seen in ollama.requests] == ["/api/chat", "/api/chat"]


# --- what it really was


async def over_bound(gateway: LiveGateway) -> float:
    async with gateway.http() as http:
        lines = (await http.get("/metrics")).text.splitlines()
    counts = [line.split()[1] for line in lines if line.startswith('neuronetz_events_total{event="prompt_over_bound"}')]
    return float(counts[0]) if counts else 0.0


@pytest.mark.promise("B1", "B2")
async def test_a_prompt_that_passes_its_bound_is_charged_in_full_and_counted(
    gateway: LiveGateway, stores: Stores, ollama: FakeOllama
) -> None:
    tenancy = await make_tenancy(gateway.services)
    ollama.script = Script(tokens=5)
    async with gateway.http(tenancy.key) as http:
        assert (await http.post("/api/chat", json=BOUNDED)).status_code == 200
        assert await over_bound(gateway) == 0
        ollama.script = Script(tokens=5, prompt_tokens=99_999)
        assert (await http.post("/api/chat", json=BOUNDED)).status_code == 200
    await settled(stores, tenancy)
    assert await over_bound(gateway) == 1
    rows = await stores.fetch("select prompt_tokens, charged_tokens, estimated from audit_log order by id")
    assert tuple(rows[1].values()) == (99_999, 99_999 + 5, False)


@pytest.mark.promise("B7")
async def test_the_older_embeddings_are_charged_their_bound_since_no_usage_is_told(
    gateway: LiveGateway, stores: Stores, ollama: FakeOllama
) -> None:
    tenancy = await make_tenancy(gateway.services)
    body = {"model": "FakeA", "prompt": "x" * 100, "keep_alive": -1, "options": {"num_ctx": 1 << 30}}
    async with gateway.http(tenancy.key) as http:
        answer = await http.post("/api/embeddings", json=body)
    assert answer.json().keys() == {"embedding"}
    assert set(answer.headers["x-gateway-adjusted"].split(",")) == {"keep_alive", "options.num_ctx"}
    assert ollama.hits[0].json == {"model": "fakea:latest", "prompt": "x" * 100, "options": {}}
    assert await settled(stores, tenancy) == 102 + 16
    [row] = await stores.fetch("select outcome, estimated, prompt_tokens, output_tokens from audit_log")
    assert tuple(row.values()) == ("completed", True, 118, 0)


@pytest.mark.promise("B7")
async def test_embeddings_without_a_count_are_charged_their_bound(
    gateway: LiveGateway, stores: Stores, ollama: FakeOllama
) -> None:
    tenancy = await make_tenancy(gateway.services)
    ollama.script = Script(omit_usage=True)
    async with gateway.http(tenancy.key) as http:
        assert (await http.post("/api/embed", json={"model": "fakea", "input": ["x" * 100] * 2})).status_code == 200
    assert await settled(stores, tenancy) == 2 * 118
    [row] = await stores.fetch("select estimated from audit_log")
    assert row["estimated"]


async def test_an_older_embedding_that_fails_is_free_and_a_broken_one_is_no_answer(
    gateway: LiveGateway, stores: Stores, ollama: FakeOllama
) -> None:
    tenancy = await make_tenancy(gateway.services)
    body = {"model": "fakea", "prompt": "hello"}
    async with gateway.http(tenancy.key) as http:
        ollama.next(Script(status=500), Script(status=400, error="too long"))
        assert (await http.post("/api/embeddings", json=body)).status_code == 502
        assert (await http.post("/api/embeddings", json=body)).status_code == 400
        empty = await http.post("/api/embeddings", json={"model": "fakea", "prompt": ""})
        assert (empty.status_code, "'prompt'" in empty.text) == (400, True)
    assert await settled(stores, tenancy) == 0
    assert len(ollama.hits) == 2


@pytest.mark.promise("N6")
async def test_more_texts_than_one_request_may_hold_are_refused(stores: Stores, ollama: FakeOllama) -> None:
    async with live_gateway(stores, ollama.base_url, max_embedding_inputs=3) as gateway:
        tenancy = await make_tenancy(gateway.services)
        async with gateway.http(tenancy.key) as http:
            for path in ("/api/embed", "/v1/embeddings"):
                assert (await http.post(path, json={"model": "fakea", "input": ["x"] * 3})).status_code == 200
                refused = await http.post(path, json={"model": "fakea", "input": ["x"] * 4})
                assert (refused.status_code, "more than 3 texts" in refused.text) == (400, True)
    assert len(ollama.hits) == 2
