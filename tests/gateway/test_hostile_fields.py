"""What would harm other tenants never reaches the model server, on any route; the caller is told what was changed."""

import itertools
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest

from neuronetz_gateway.domain.limit import Limits
from neuronetz_gateway.surfaces.surface import Endpoint
from tests.support.factories import Tenancy, make_tenancy
from tests.support.fake_ollama import FakeOllama
from tests.support.gateways import LiveGateway, live_gateway
from tests.support.go_json import STRUCTS
from tests.support.stores import Stores
from tests.support.valid_bodies import (
    GENERATING,
    INFERRING,
    READING,
    SPEECHES,
    body_of,
    cap_in,
    name_of,
)

CAP = 200
HUGE = (1 << 62) + 1

# Options that choose how a model is loaded (OLLAMA §4.5): a reload for everybody, memory for one.
RUNNER_OPTIONS: dict[str, Any] = {
    "num_ctx": 1 << 30, "num_batch": 99_999_999, "num_gpu": 9999, "main_gpu": 3, "use_mmap": False,
    "num_thread": 100_000, "draft_num_predict": 9, "use_mlock": True, "low_vram": True, "numa": True,
    "f16_kv": False, "vocab_only": True, "num_keep": 1 << 20,
}  # fmt: skip

# By the field, values each of which Ollama would obey on a route that has the field.
HARMFUL: dict[str, tuple[Any, ...]] = {
    "keep_alive": (0, -1, "0", "-1", "24h", 1e18, "999999h"),
    "template": ("{{ range 30000000 }}x{{ end }}",),
    "raw": (True,),
    "shift": (False, True),
    "_debug_render_only": (True,),
}
SERVER_TOOLS: dict[str, list[dict[str, Any]]] = {
    "/v1/responses": [{"type": "web_search"}, {"type": "web_search_preview"}],
    "/v1/messages": [
        {"type": "web_search_20250305", "name": "web_search"},
        {"type": "web_search", "name": "web_search", "max_uses": 5},
    ],
}
ASKED = (None, 1, CAP - 1, CAP, CAP + 1, HUGE, 0, -1, -2, -HUGE)
CLOUD = ("fakea:cloud", "fakea:latest-cloud", "FAKEA:CLOUD", "gpt-oss:120b-cloud", "x: cloud")
NOTHING = object()
EMPTY: tuple[Any, ...] = ("", [], None, NOTHING)


@pytest.fixture
async def capped(stores: Stores, ollama: FakeOllama) -> AsyncIterator[tuple[LiveGateway, Tenancy]]:
    """A key that may have so many tokens of output, whatever it asks for."""
    async with live_gateway(stores, ollama.base_url, model_facts_refresh_s=0) as live:
        yield live, await make_tenancy(live.services, key_limits=Limits(output_cap=CAP))


def adjusted(headers: Any) -> set[str]:
    return set(filter(None, headers.get("x-gateway-adjusted", "").split(",")))


def asking_in(endpoint: Endpoint, place: str, tokens: int | None) -> dict[str, Any]:
    field, _, inner = place.partition(".")
    if tokens is None:
        return {name: value for name, value in body_of(endpoint).items() if name != field}
    return body_of(endpoint) | {field: {inner: tokens} if inner else tokens}


def places(endpoints: Iterable[Endpoint]) -> list[tuple[Endpoint, str]]:
    """Every field of every endpoint with which a caller may ask for a cap."""
    return [(endpoint, place) for endpoint in endpoints for place in SPEECHES[endpoint.path].cap_fields]


@pytest.mark.promise("N6")
async def test_a_field_that_harms_others_is_left_out_and_named(
    capped: tuple[LiveGateway, Tenancy], ollama: FakeOllama
) -> None:
    gateway, tenancy = capped
    async with gateway.http(tenancy.key) as http:
        for endpoint, field in itertools.product(READING, HARMFUL):
            if field not in STRUCTS[endpoint.path] and not (endpoint.asks and field == "template"):
                continue  # Ollama does not know it here
            for value in HARMFUL[field]:
                answer = await http.post(endpoint.path, json=body_of(endpoint, **{field: value}))
                assert answer.status_code == 200, (name_of(endpoint), answer.text)
                assert field not in ollama.requests[-1].fields, (name_of(endpoint), value)
                assert field in adjusted(answer.headers), (name_of(endpoint), value)


@pytest.mark.promise("N6")
async def test_options_of_the_runner_are_left_out_and_named(
    capped: tuple[LiveGateway, Tenancy], ollama: FakeOllama
) -> None:
    gateway, tenancy = capped
    async with gateway.http(tenancy.key) as http:
        for endpoint in INFERRING:
            answer = await http.post(endpoint.path, json=body_of(endpoint, options={**RUNNER_OPTIONS, "seed": 7}))
            assert answer.status_code == 200, (name_of(endpoint), answer.text)
            if "options" not in STRUCTS[endpoint.path]:
                continue  # Ollama does not read them here
            sent = ollama.hits[-1].json["options"]
            assert sent.pop("num_predict", CAP) == CAP, name_of(endpoint)
            assert sent == {"seed": 7}, name_of(endpoint)
            assert {f"options.{name}" for name in RUNNER_OPTIONS} <= adjusted(answer.headers), name_of(endpoint)


@pytest.mark.promise("N6")
async def test_no_output_is_without_a_cap(capped: tuple[LiveGateway, Tenancy], ollama: FakeOllama) -> None:
    """0 or less is refused, or means no cap, in whose place the key's own is written."""
    gateway, tenancy = capped
    async with gateway.http(tenancy.key) as http:
        for (endpoint, place), asked in itertools.product(places(GENERATING), ASKED):
            before = len(ollama.hits)
            answer = await http.post(endpoint.path, json=asking_in(endpoint, place, asked))
            case = (name_of(endpoint), place, asked, answer.text)
            if answer.status_code == 400:
                assert asked is None or asked <= 0, case  # what asks for much gets less, it is not refused
                assert len(ollama.hits) == before, case
                continue
            assert answer.status_code == 200, case
            sent = cap_in(endpoint, ollama.hits[-1].json)
            assert type(sent) is int, case
            assert sent == (asked if asked is not None and 0 < asked <= CAP else CAP), case
            assert (place in adjusted(answer.headers)) == (asked not in {None, sent}), case


@pytest.mark.promise("N6")
async def test_a_cap_under_the_name_of_another_route_lifts_none(
    capped: tuple[LiveGateway, Tenancy], ollama: FakeOllama
) -> None:
    """Ollama ignores the names of other routes, max_completion_tokens even on its own (OLLAMA §4.5)."""
    gateway, tenancy = capped
    names = {"max_tokens", "max_completion_tokens", "max_output_tokens", "num_predict"}
    async with gateway.http(tenancy.key) as http:
        for endpoint, place in places(GENERATING):
            own = {each.partition(".")[0] for each in SPEECHES[endpoint.path].cap_fields}
            body = asking_in(endpoint, place, 17) | dict.fromkeys(names - own, HUGE)
            if "options" not in own:
                body["options"] = {"num_predict": HUGE}
            answer = await http.post(endpoint.path, json=body)
            assert answer.status_code == 200, (name_of(endpoint), answer.text)
            assert cap_in(endpoint, ollama.hits[-1].json) == 17, (name_of(endpoint), place)
            assert place == "max_tokens" or SPEECHES[endpoint.path].cap == place or place not in ollama.hits[-1].json


@pytest.mark.promise("N6")
async def test_a_model_that_is_run_elsewhere_is_not_reached(
    capped: tuple[LiveGateway, Tenancy], ollama: FakeOllama
) -> None:
    gateway, tenancy = capped
    async with gateway.http(tenancy.key) as http:
        for endpoint, model in itertools.product(READING, CLOUD):
            answer = await http.post(endpoint.path, json=body_of(endpoint, model=model))
            assert answer.status_code == 400, (name_of(endpoint), model, answer.text)
    assert not ollama.requests


@pytest.mark.promise("N6")
async def test_a_tool_that_the_server_would_run_is_not_sent(
    capped: tuple[LiveGateway, Tenancy], ollama: FakeOllama
) -> None:
    """Ollama searches the network with the operator's account for such a tool (OLLAMA §4.5)."""
    gateway, tenancy = capped
    endpoints = [endpoint for endpoint in INFERRING if endpoint.path in SERVER_TOOLS]
    async with gateway.http(tenancy.key) as http:
        for endpoint, stream in itertools.product(endpoints, (False, True)):
            own = next(body["tools"] for body in SPEECHES[endpoint.path].bodies() if "tools" in body)
            for tool, before, behind in itertools.product(SERVER_TOOLS[endpoint.path], ([], own), ([], own)):
                answer = await http.post(
                    endpoint.path, json=body_of(endpoint, tools=[*before, tool, *behind], stream=stream)
                )
                assert answer.status_code == 200, (name_of(endpoint), answer.text)
                assert ollama.hits[-1].json.get("tools", []) == [*before, *behind], name_of(endpoint)
                assert b"web_search" not in ollama.hits[-1].body, name_of(endpoint)
                assert "tools" in adjusted(answer.headers), name_of(endpoint)


@pytest.mark.promise("N6")
async def test_an_empty_request_neither_loads_nor_unloads_a_model(
    capped: tuple[LiveGateway, Tenancy], ollama: FakeOllama
) -> None:
    gateway, tenancy = capped
    async with gateway.http(tenancy.key) as http:
        for endpoint, empty, keep_alive in itertools.product(INFERRING, EMPTY, (0, -1, NOTHING)):
            for subject in SPEECHES[endpoint.path].subject:
                fields = body_of(endpoint) | {subject: empty, "keep_alive": keep_alive}
                body = {name: value for name, value in fields.items() if value is not NOTHING}
                answer = await http.post(endpoint.path, json=body)
                assert answer.status_code in {400, 403}, (name_of(endpoint), body, answer.text)
    assert not ollama.requests


async def test_what_is_harmless_is_not_named(capped: tuple[LiveGateway, Tenancy], ollama: FakeOllama) -> None:
    gateway, tenancy = capped
    async with gateway.http(tenancy.key) as http:
        for endpoint in INFERRING:
            for body in SPEECHES[endpoint.path].bodies():
                answer = await http.post(endpoint.path, json=body)
                assert answer.status_code == 200, (name_of(endpoint), answer.text)
                assert not adjusted(answer.headers), name_of(endpoint)
    assert ollama.hits
