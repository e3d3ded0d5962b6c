"""What a key sees of the models: its own alone, never what is the operator's."""

import asyncio
from urllib.parse import urlsplit

import httpx
import ollama as ollama_sdk
import pytest

from neuronetz_gateway.domain.limit import Limits
from tests.gateway.test_budgeting import settled
from tests.support.factories import make_tenancy
from tests.support.fake_ollama import FakeOllama, Script
from tests.support.fake_ollama_metadata import BLOB_PATH, SYSTEM_PROMPT
from tests.support.gateways import LiveGateway
from tests.support.no_tls import NO_TLS
from tests.support.raw_http import request_bytes, send_raw
from tests.support.stores import Stores


def hides_the_operators(answer: httpx.Response) -> bool:
    return SYSTEM_PROMPT not in answer.text and "/blobs/" not in answer.text and BLOB_PATH not in answer.text


@pytest.mark.promise("A12")
async def test_a_model_is_shown_without_its_system_prompt_or_a_path_of_the_host(
    gateway: LiveGateway, stores: Stores, ollama: FakeOllama
) -> None:
    tenancy = await make_tenancy(gateway.services)
    async with gateway.http(tenancy.key) as http:
        answer = await http.post("/api/show", json={"name": "FakeA", "verbose": True, "system": "x", "unknown": 1})
    assert answer.status_code == 200
    assert hides_the_operators(answer)
    assert answer.headers["x-gateway-adjusted"] == "system"
    assert answer.json()["details"]["parent_model"] == ""
    assert "FROM fakea:latest\n" in answer.json()["modelfile"]
    [seen] = ollama.requests
    assert seen.json == {"model": "fakea:latest", "verbose": True}
    assert await settled(stores, tenancy) == 0
    [row] = await stores.fetch("select endpoint, model, outcome, status, charged_tokens from audit_log")
    assert tuple(row.values()) == ("/api/show", "fakea:latest", "completed", 200, 0)


async def test_the_unmodified_library_reads_what_is_shown(gateway: LiveGateway, ollama: FakeOllama) -> None:
    ollama.shows("fakea:latest", messages=[], requires="0.33.0")
    tenancy = await make_tenancy(gateway.services)
    client = ollama_sdk.AsyncClient(gateway.base_url, headers=tenancy.bearer, verify=NO_TLS, trust_env=False)
    shown = await client.show("fakea")
    loaded = await client.ps()
    await client._client.aclose()
    assert shown.modelinfo == {"general.architecture": "llama", "llama.context_length": 4096}
    assert shown.capabilities == ["completion", "tools"]
    assert shown.modified_at
    assert shown.details
    assert shown.details.family == "llama"
    assert [model.model for model in loaded.models] == ["fakea:latest", "fakeb:latest"]


async def test_a_large_answer_is_shown_whole(gateway: LiveGateway, ollama: FakeOllama) -> None:
    ollama.shows("fakea:latest", model_info={"tokens": [f"token{number}" for number in range(60_000)]})
    tenancy = await make_tenancy(gateway.services)
    async with gateway.http(tenancy.key) as http:
        answer = await http.post("/api/show", json={"model": "fakea", "verbose": True})
    assert len(answer.json()["model_info"]["tokens"]) == 60_000


@pytest.mark.promise("A13")
@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"model": "fakeb"}, 403),
        ({"name": "library/FakeB:latest"}, 403),
        ({"model": "fakea", "name": "fakeb"}, 400),
        ({"model": "fakea:cloud"}, 400),
        ({"model": "fakea", "Model": "fakeb"}, 400),
        ({}, 400),
    ],
)
async def test_a_model_that_is_not_for_the_key_is_not_asked_for(
    gateway: LiveGateway, ollama: FakeOllama, body: dict[str, object], status: int
) -> None:
    tenancy = await make_tenancy(gateway.services, models=["fakea:latest"])
    async with gateway.http(tenancy.key) as http:
        assert (await http.post("/api/show", json=body)).status_code == status
    assert not ollama.requests


@pytest.mark.promise("A13")
async def test_a_model_that_is_run_elsewhere_is_not_found(
    gateway: LiveGateway, stores: Stores, ollama: FakeOllama
) -> None:
    ollama.shows("fakea:latest", remote_host="https://ollama.com:443", remote_model="x")
    tenancy = await make_tenancy(gateway.services)
    async with gateway.http(tenancy.key) as http:
        stub = await http.post("/api/show", json={"model": "fakea"})
        unknown = await http.post("/api/show", json={"model": "nothing"})
    assert (stub.status_code, unknown.status_code) == (404, 404)
    assert stub.json() == {"error": unknown.json()["error"].replace("nothing", "fakea")}
    await settled(stores, tenancy)
    rows = await stores.fetch("select outcome from audit_log")
    assert [row["outcome"] for row in rows] == ["upstream_refused"] * 2


async def test_an_answer_that_cannot_be_read_is_a_502(gateway: LiveGateway, ollama: FakeOllama) -> None:
    tenancy = await make_tenancy(gateway.services)
    ollama.metadata_script = Script(status=200, error_body=None, content_length_delta=-5)
    async with gateway.http(tenancy.key) as http:
        answer = await http.post("/api/show", json={"model": "fakea"})
    assert answer.status_code == 502
    assert hides_the_operators(answer)


@pytest.mark.promise("A12", "A13")
async def test_only_the_loaded_models_of_the_key_are_listed(gateway: LiveGateway, ollama: FakeOllama) -> None:
    tenancy = await make_tenancy(gateway.services, models=["fakeb:latest"])
    async with gateway.http(tenancy.key) as http:
        answer = await http.get("/api/ps")
    [loaded] = answer.json()["models"]
    assert loaded["name"] == "fakeb:latest"
    assert loaded["details"]["parent_model"] == ""
    assert "fakea" not in answer.text
    assert hides_the_operators(answer)
    assert [seen.target for seen in ollama.requests] == ["/api/ps"]


# --- HEAD


@pytest.mark.parametrize("path", ["/api/version", "/api/tags"])
async def test_head_is_answered_like_get_without_the_body(
    gateway: LiveGateway, stores: Stores, ollama: FakeOllama, path: str
) -> None:
    tenancy = await make_tenancy(gateway.services, models=["fakea:latest"])
    async with gateway.http(tenancy.key) as http:
        whole = await http.get(path)
        head = await http.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(whole.content))
    assert head.headers["content-type"] == whole.headers["content-type"]
    assert [seen.method for seen in ollama.requests] == ["GET", "GET"]
    assert await settled(stores, tenancy) == 0
    rows = await stores.fetch("select endpoint, outcome, status from audit_log")
    assert [tuple(row.values()) for row in rows] == [(path, "completed", 200)] * 2


async def test_a_connection_serves_on_after_head(gateway: LiveGateway) -> None:
    tenancy = await make_tenancy(gateway.services)
    parts = urlsplit(gateway.base_url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    ask = "{} HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer " + tenancy.key + "\r\n\r\n"
    async with asyncio.timeout(10):
        for target in ("HEAD /api/tags", "HEAD /api/version", "HEAD /api/tags"):
            writer.write(ask.format(target).encode())
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            assert b"connection: close" not in head
        writer.write(ask.format("GET /api/version").encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        assert (await reader.read(100)).startswith(b'{"version"')
    writer.close()


@pytest.mark.promise("N2")
async def test_head_of_anything_else_is_not_found(gateway: LiveGateway, ollama: FakeOllama) -> None:
    key = (await make_tenancy(gateway.services)).key
    for path in ("/api/ps", "/api/chat", "/api/show", "/v1/models", "/api/embeddings", "/v1/models/fakea"):
        assert (await send_raw(gateway.base_url, request_bytes("HEAD", path, key=key))).status == 404, path
    assert (await send_raw(gateway.base_url, request_bytes("HEAD", "/api/blobs/sha256:0", key=key))).status == 403
    assert (await send_raw(gateway.base_url, request_bytes("HEAD", "/api/tags"))).status == 401
    assert not ollama.requests


async def test_head_is_limited_like_get(gateway: LiveGateway, ollama: FakeOllama) -> None:
    tenancy = await make_tenancy(gateway.services, key_limits=Limits(rpm=1))
    async with gateway.http(tenancy.key) as http:
        assert (await http.head("/api/version")).status_code == 200
        refused = await http.head("/api/tags")
    assert refused.status_code == 429
    assert refused.headers["retry-after"]
    assert len(ollama.requests) == 1
