"""One key, one meaning, in whichever header it comes, on every surface."""

import json
from typing import Any

import pytest

from neuronetz_gateway.surfaces.anthropic import ANTHROPIC
from neuronetz_gateway.surfaces.catalog import ENDPOINTS
from tests.support.factories import make_tenancy
from tests.support.fake_ollama import FakeOllama
from tests.support.gateways import LiveGateway

PATH = "/v1/messages"
HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
ASK: dict[str, Any] = {"model": "fakea", "max_tokens": 100, "messages": HELLO}
BODIES: dict[str, dict[str, Any]] = {
    "/api/chat": {"model": "fakea", "messages": HELLO, "stream": False},
    "/api/generate": {"model": "fakea", "prompt": "Hello", "stream": False},
    "/api/embed": {"model": "nomic-embed-text", "input": "Hello"},
    "/v1/chat/completions": {"model": "fakea", "messages": HELLO},
    "/v1/embeddings": {"model": "nomic-embed-text", "input": "Hello"},
}

type HeaderPairs = list[tuple[str, str]]


@pytest.mark.promise("A2")
async def test_a_key_in_either_header_or_the_same_in_both_is_one_key(gateway: LiveGateway, ollama: FakeOllama) -> None:
    key = (await make_tenancy(gateway.services)).key
    served: list[HeaderPairs] = [
        [("x-api-key", key)],
        [("X-API-Key", key), ("x-api-key", key)],
        [("authorization", f"bEARER {key}")],
        [("authorization", f"Bearer {key}"), ("x-api-key", key)],
        [("authorization", f"Bearer {key}"), ("x-api-key", "")],
    ]
    async with gateway.http() as http:
        for headers in served:
            answer = await http.post(PATH, json=ASK, headers=headers)
            assert answer.status_code == 200, (headers, answer.text)
    assert len(ollama.hits) == len(served)
    for hit in ollama.hits:
        assert {name.lower() for name, _ in hit.headers}.isdisjoint({"authorization", "x-api-key"})
        assert key.encode() not in hit.raw_head + hit.body


@pytest.mark.promise("A2")
async def test_two_different_keys_are_refused_even_where_both_are_good(
    gateway: LiveGateway, ollama: FakeOllama
) -> None:
    one, other = (await make_tenancy(gateway.services)).key, (await make_tenancy(gateway.services)).key
    refused: list[HeaderPairs] = [
        [("authorization", f"Bearer {one}"), ("x-api-key", other)],
        [("authorization", f"Basic {one}"), ("x-api-key", one)],
        [("x-api-key", one), ("x-api-key", other)],
        [("authorization", f"Bearer {one}"), ("authorization", f"Bearer {other}")],
    ]
    async with gateway.http() as http:
        for headers in refused:
            answer = await http.post(PATH, json=ASK, headers=headers)
            assert answer.status_code == 400, headers
            assert answer.json()["error"]["type"] == "invalid_request_error"
            assert one not in answer.text
            assert other not in answer.text
    assert not ollama.requests


@pytest.mark.promise("A2")
async def test_elsewhere_the_second_header_is_nothing(gateway: LiveGateway, ollama: FakeOllama) -> None:
    """Whatever stands in it neither lets in, nor harms, nor goes up (OLLAMA §4.7)."""
    key = (await make_tenancy(gateway.services)).key
    async with gateway.http() as http:
        for endpoint in ENDPOINTS:
            if endpoint.surface is not ANTHROPIC:
                path = endpoint.path.replace("{model}", "fakea")
                body = ASK if endpoint.method == "POST" else None  # any other method brings none
                answer = await http.request(endpoint.method, path, json=body, headers={"x-api-key": key})
                assert answer.status_code == 401, path
        for path, body in BODIES.items():
            other = {"authorization": f"Bearer {key}", "x-api-key": "another"}
            assert (await http.post(path, json=body, headers=other)).status_code == 200, path
    assert [hit.target for hit in ollama.hits] == list(BODIES)
    assert all(hit.header("x-api-key") is None for hit in ollama.hits)


@pytest.mark.promise("A3")
async def test_a_bad_key_is_told_so_in_the_envelope_whatever_the_header(
    gateway: LiveGateway, ollama: FakeOllama
) -> None:
    bad = "nz_" + "x" * 41
    shapes = set()
    async with gateway.http() as http:
        for headers in ({}, {"x-api-key": bad}, {"authorization": f"Bearer {bad}"}, {"authorization": "Basic x"}):
            answer = await http.post(PATH, json=ASK, headers=headers)
            assert answer.status_code == 401
            body = answer.json()
            assert body.pop("request_id") == answer.headers["x-request-id"]
            assert (body["type"], body["error"]["type"]) == ("error", "authentication_error")
            shapes.add(json.dumps(body))
    assert len(shapes) == 1
    assert not ollama.requests
