"""A model is loaded or unloaded for everybody at once: only a key that was told so may ask for it."""

import asyncio
from typing import Any

import httpx
import ollama as ollama_sdk
import pytest

from neuronetz_gateway.domain.budget import Period
from neuronetz_gateway.domain.limit import Limits
from neuronetz_gateway.wiring import Services
from tests.gateway.test_broken_answers import saying
from tests.gateway.test_budgeting import settled, usage_of
from tests.support.factories import Tenancy, make_tenancy
from tests.support.fake_ollama import FakeOllama, Script
from tests.support.fleet import Member
from tests.support.gateways import LiveGateway, live_gateway
from tests.support.load import CHAT
from tests.support.no_tls import NO_TLS
from tests.support.stores import Stores

LOADS: list[tuple[str, dict[str, Any]]] = [
    ("/api/generate", {}),
    ("/api/generate", {"prompt": ""}),
    ("/api/generate", {"prompt": None, "keep_alive": 0}),
    ("/api/chat", {"messages": []}),
    ("/api/chat", {"keep_alive": -1, "stream": False}),
    ("/api/chat", {"messages": [], "keep_alive": "0"}),
]
EMPTY_OTHERWISE: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", {"messages": []}),
    ("/v1/chat/completions", {"keep_alive": 0}),
    ("/v1/embeddings", {"input": ""}),
    ("/api/embed", {"input": [], "keep_alive": 0}),
    ("/api/generate", {"images": ["aaaa"]}),
    ("/api/generate", {"suffix": "x", "keep_alive": 0}),
    ("/api/chat", {"tools": [{"type": "function"}]}),
]
MODEL = {"model": "fakea"}


async def audited(stores: Stores, tenancy: Tenancy) -> list[dict[str, Any]]:
    await settled(stores, tenancy)
    return await stores.fetch(
        "select outcome, status, reason, charged_tokens, prompt_tokens, output_tokens, reserved_tokens, estimated "
        "from audit_log where tenant_id = $1 order by id",
        tenancy.tenant.id,
    )


@pytest.mark.promise("N6")
async def test_a_key_that_was_not_told_so_loads_nothing(gateway: LiveGateway, ollama: FakeOllama) -> None:
    tenancy = await make_tenancy(gateway.services)
    async with gateway.http(tenancy.key) as http:
        for path, body in LOADS:
            answer = await http.post(path, json=MODEL | body)
            assert answer.status_code == 403, (path, body)
            assert answer.headers["content-type"].startswith("application/json")
            assert list(answer.json()) == ["error"]
            subject = "messages" if path == "/api/chat" else "prompt"
            assert f"'{subject}' is missing or empty, which would load or unload" in answer.json()["error"]
    assert not ollama.hits


async def test_a_refused_load_is_audited_once_and_costs_nothing(gateway: LiveGateway, stores: Stores) -> None:
    tenancy = await make_tenancy(gateway.services, key_limits=Limits(rpm=1, concurrent=1))
    async with gateway.http(tenancy.key) as http:
        for _ in range(3):
            assert (await http.post("/api/chat", json=MODEL)).status_code == 403
        assert (await http.post("/api/chat", json=CHAT)).status_code == 200
    async with asyncio.timeout(10):
        while len(rows := await audited(stores, tenancy)) < 4:
            await asyncio.sleep(0.02)
    assert [row["reason"] for row in rows if row["status"] == 403] == ["loading_not_allowed"] * 3


@pytest.mark.promise("N6")
@pytest.mark.parametrize(
    ("path", "body", "goes_up", "reason"),
    [
        ("/api/generate", {}, {"prompt": "", "stream": True}, "load"),
        ("/api/generate", {"keep_alive": "10m"}, {"prompt": "", "stream": True, "keep_alive": "10m"}, "load"),
        ("/api/generate", {"keep_alive": 0}, {"prompt": "", "stream": True, "keep_alive": 0}, "unload"),
        ("/api/chat", {"keep_alive": "-1"}, {"messages": [], "stream": True, "keep_alive": -1}, "load"),
        (
            "/api/chat",
            {"messages": [], "stream": False, "keep_alive": "0s", "options": {"num_ctx": 10**6}, "think": True},
            {"messages": [], "stream": False, "keep_alive": "0s"},
            "unload",
        ),
    ],
)
async def test_a_key_that_was_told_so_loads_and_unloads_for_nothing(
    gateway: LiveGateway,
    stores: Stores,
    ollama: FakeOllama,
    path: str,
    body: dict[str, Any],
    goes_up: dict[str, Any],
    reason: str,
) -> None:
    tenancy = await make_tenancy(gateway.services, may_load_models=True, budget={Period.TOTAL: 1000})
    async with gateway.http(tenancy.key) as http:
        answer = await http.post(path, json=MODEL | body)
    assert answer.status_code == 200
    assert (answer.json()["done"], answer.json()["done_reason"]) == (True, reason)
    [seen] = ollama.hits
    assert seen.target == path
    assert seen.json == {"model": "fakea:latest"} | goes_up
    assert answer.headers.get("x-gateway-adjusted") == ("options" if "options" in body else None)
    [row] = await audited(stores, tenancy)
    assert row == {
        "outcome": "completed",
        "status": 200,
        "reason": "",
        "charged_tokens": 0,
        "prompt_tokens": 0,
        "output_tokens": 0,
        "reserved_tokens": 0,
        "estimated": False,
    }
    assert await usage_of(stores, tenancy) == (0, 0)


@pytest.mark.promise("N6")
async def test_a_keep_alive_that_is_no_time_never_goes_up(gateway: LiveGateway, ollama: FakeOllama) -> None:
    tenancy = await make_tenancy(gateway.services, may_load_models=True)
    async with gateway.http(tenancy.key) as http:
        wrong: tuple[object, ...] = (True, "soon", "", [], {}, 10**12, "5d")
        for keep_alive in wrong:
            answer = await http.post("/api/generate", json=MODEL | {"keep_alive": keep_alive})
            assert answer.status_code == 400, keep_alive
            assert "'keep_alive'" in answer.json()["error"]
    assert not ollama.hits


@pytest.mark.promise("N6")
async def test_a_request_with_a_prompt_pins_and_evicts_nothing_whoever_asks(
    gateway: LiveGateway, ollama: FakeOllama
) -> None:
    for may in (False, True):
        tenancy = await make_tenancy(gateway.services, may_load_models=may)
        async with gateway.http(tenancy.key) as http:
            for keep_alive in (0, -1, "0s", 10**9, "9999h"):
                extra = {"keep_alive": keep_alive, "stream": False}
                for path, work in (
                    ("/api/chat", CHAT),
                    ("/api/generate", {"model": "fakea", "prompt": "x"}),
                    ("/api/embed", {"model": "fakea", "input": "x"}),
                ):
                    answer = await http.post(path, json=work | extra)
                    assert answer.status_code == 200
                    assert answer.headers["x-gateway-adjusted"] == "keep_alive"
    assert len(ollama.hits) == 30
    assert not [seen for seen in ollama.hits if "keep_alive" in seen.json]


@pytest.mark.promise("B1")
async def test_what_costs_nothing_passes_a_spent_budget(
    gateway: LiveGateway, stores: Stores, ollama: FakeOllama
) -> None:
    tenancy = await make_tenancy(gateway.services, may_load_models=True, budget={Period.TOTAL: 0})
    async with gateway.http(tenancy.key) as http:
        assert (await http.post("/api/chat", json=CHAT)).status_code == 429
        assert (await http.post("/api/generate", json=MODEL)).status_code == 200
    assert len(ollama.hits) == 1
    assert await settled(stores, tenancy) == 0


async def test_loads_count_as_requests_but_not_as_tokens(gateway: LiveGateway, ollama: FakeOllama) -> None:
    tenancy = await make_tenancy(gateway.services, may_load_models=True, key_limits=Limits(rpm=2, tpm=1))
    async with gateway.http(tenancy.key) as http:
        answers = [await http.post("/api/generate", json=MODEL) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert "key.rpm" in answers[2].json()["error"]
    assert len(ollama.hits) == 2


async def test_a_load_holds_a_place_while_it_lasts(gateway: LiveGateway, ollama: FakeOllama) -> None:
    tenancy = await make_tenancy(gateway.services, may_load_models=True, key_limits=Limits(concurrent=1))
    gate = asyncio.Event()
    ollama.next(Script(gate=gate))
    async with gateway.http(tenancy.key) as http:
        loading = asyncio.create_task(http.post("/api/generate", json=MODEL))
        await ollama.wait_for(lambda: ollama.in_flight == 1)
        assert "key.concurrent" in (await http.post("/api/generate", json=MODEL)).json()["error"]
        gate.set()
        assert (await loading).status_code == 200


async def test_a_model_outside_its_list_is_not_loaded_either(gateway: LiveGateway, ollama: FakeOllama) -> None:
    tenancy = await make_tenancy(gateway.services, may_load_models=True, models=["fakeb:latest"])
    async with gateway.http(tenancy.key) as http:
        answer = await http.post("/api/generate", json=MODEL)
    assert answer.status_code == 403
    assert "'fakea:latest'" in answer.json()["error"]
    assert not ollama.hits


@pytest.mark.promise("A4")
@pytest.mark.parametrize("way", ["service", "sql"])
async def test_the_permission_holds_from_the_next_request_given_or_taken(
    gateway: LiveGateway, ollama: FakeOllama, stores: Stores, way: str
) -> None:
    """A permission that was given used to be refused for as long as the caches held the principal of before: a key
    that lacks something never reaches the ledger, which would tell that the principal is stale."""
    tenancy = await make_tenancy(gateway.services)
    prefix = tenancy.api_key.prefix
    async with gateway.http(tenancy.key) as http:
        for allowed in (False, True, False, True):
            if way == "sql":
                await stores.execute("update api_keys set may_load_models = $2 where prefix = $1", prefix, allowed)
            else:
                await gateway.services.api_keys.set_loading(prefix, allowed=allowed)
            answer = await http.post("/api/generate", json=MODEL)
            assert answer.status_code == (200 if allowed else 403)
    assert len(ollama.hits) == 2


@pytest.mark.promise("A4")
async def test_a_model_that_was_given_may_be_used_at_the_next_request(gateway: LiveGateway, ollama: FakeOllama) -> None:
    """As above: until the caches forgot it, a key was refused the model that it had just been given."""
    tenancy = await make_tenancy(gateway.services, models=["fakeb:latest"])
    async with gateway.http(tenancy.key) as http:
        assert (await http.post("/api/chat", json=CHAT)).status_code == 403
        await gateway.services.tenants.set_models(tenancy.tenant.name, allow_all=True, models=None)
        assert (await http.post("/api/chat", json=CHAT)).status_code == 200
    assert len(ollama.hits) == 1


@pytest.mark.promise("A4")
async def test_the_permission_holds_in_every_process(
    two_gateways: tuple[Member, Member], management: Services, ollama: FakeOllama
) -> None:
    tenancy = await make_tenancy(management)
    for allowed in (False, True, False):
        await management.api_keys.set_loading(tenancy.api_key.prefix, allowed=allowed)
        for one in two_gateways:
            async with one.http(tenancy.key) as http:
                answer = await http.post("/api/chat", json=MODEL)
                assert answer.status_code == (200 if allowed else 403)
    assert len(ollama.hits) == 2


@pytest.mark.promise("N6")
async def test_only_an_empty_native_prompt_is_a_load(gateway: LiveGateway, ollama: FakeOllama) -> None:
    tenancy = await make_tenancy(gateway.services, may_load_models=True)
    async with gateway.http(tenancy.key) as http:
        for path, body in EMPTY_OTHERWISE:
            assert (await http.post(path, json=MODEL | body)).status_code == 400, (path, body)
    assert not ollama.hits


@pytest.mark.promise("B7")
async def test_a_load_that_generates_after_all_is_cut(stores: Stores) -> None:
    record = b'{"model":"fakea:latest","response":"free","done":false}\n'
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nConnection: close\r\n\r\n"
    async with saying(head + record * 20) as upstream, live_gateway(stores, upstream) as gateway:
        tenancy = await make_tenancy(gateway.services, may_load_models=True)
        received = b""
        async with gateway.http(tenancy.key) as http:
            with pytest.raises(httpx.RemoteProtocolError):
                async with http.stream("POST", "/api/generate", json=MODEL) as answer:
                    async for chunk in answer.aiter_raw():
                        received += chunk
        assert b"free" not in received
        assert b"went past what was reserved" in received
        [row] = await audited(stores, tenancy)
    assert (row["outcome"], row["charged_tokens"], row["estimated"]) == ("cut", 0, False)


async def test_a_load_that_fails_is_told_and_costs_nothing(
    gateway: LiveGateway, stores: Stores, ollama: FakeOllama
) -> None:
    tenancy = await make_tenancy(gateway.services, may_load_models=True)
    ollama.script = Script(status=404, error="model 'fakea' not found")
    async with gateway.http(tenancy.key) as http:
        assert (await http.post("/api/generate", json=MODEL)).status_code == 404
    [row] = await audited(stores, tenancy)
    assert (row["outcome"], row["charged_tokens"], row["estimated"]) == ("upstream_refused", 0, False)


async def test_the_ollama_library_loads_and_unloads(gateway: LiveGateway, ollama: FakeOllama) -> None:
    tenancy = await make_tenancy(gateway.services, may_load_models=True)
    async with ollama_sdk.AsyncClient(
        gateway.base_url, headers=tenancy.bearer, verify=NO_TLS, trust_env=False
    ) as client:
        loaded = await client.generate("fakea", keep_alive=-1)
        unloaded = await client.chat("fakea", keep_alive=0)
    assert (loaded.done_reason, unloaded.done_reason) == ("load", "unload")
    assert [seen.json["keep_alive"] for seen in ollama.hits] == [-1, 0]
