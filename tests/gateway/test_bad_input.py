"""Bad input gets a clear sentence in the surface's own shape; nothing is held after it."""

import asyncio
import json

import pytest

from tests.support.factories import Tenancy, make_tenancy
from tests.support.fake_ollama import FakeOllama
from tests.support.gateways import LiveGateway
from tests.support.stores import Stores

BODIES = {
    "no json": (b"hello", "JSON"),
    "an array": (b"[]", "object"),
    "nothing": (b"", "JSON"),
    "trailing data": (b'{"model":"fakea"} {}', "JSON"),
    "a duplicate key": (b'{"model":"fakea","model":"fakeb","messages":[]}', "model"),
    "a nested duplicate": (b'{"model":"fakea","messages":[{"content":"a","content":"b"}]}', "content"),
    "another case": (b'{"Model":"fakeb","model":"fakea","messages":[{"content":"x"}]}', "Model"),
    "a folding letter": ('{"model":"fakea","messages":[{"content":"x"}],"ſtream":true}'.encode(), "stream"),
    "not a number": (b'{"model":"fakea","x":NaN}', "JSON"),
    "bad utf-8": (b'{"model":"\xff"}', "JSON"),
    "no model": (b'{"messages":[{"content":"x"}]}', "model"),
    "a model that is a number": (b'{"model":7,"messages":[{"content":"x"}]}', "model"),
    "a cloud model": (b'{"model":"gpt-oss:20b-cloud","messages":[{"content":"x"}]}', "cloud"),
    "a url for a model": (b'{"model":"https://registry.ollama.ai/fakea","messages":[{"content":"x"}]}', "model"),
    "stream as text": (b'{"model":"fakea","messages":[{"content":"x"}],"stream":"yes"}', "stream"),
    "messages as text": (b'{"model":"fakea","messages":"x"}', "messages"),
    "too deep": (b'{"model":"fakea","x":' + b"[" * 100 + b"]" * 100 + b"}", "deep"),
}  # fmt: skip


@pytest.fixture
async def tenancy(gateway: LiveGateway) -> Tenancy:
    return await make_tenancy(gateway.services)


@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions"])
@pytest.mark.parametrize("name", BODIES)
async def test_a_bad_body_is_named_in_the_surfaces_own_shape(
    gateway: LiveGateway, ollama: FakeOllama, stores: Stores, tenancy: Tenancy, path: str, name: str
) -> None:
    body, said = BODIES[name]
    async with gateway.http(tenancy.key) as http:
        answer = await http.post(path, content=body)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    message = error if path.startswith("/api") else error["message"]
    assert said.lower() in message.lower(), message
    assert message[0].isupper() or message[0] == "'", message
    assert message.endswith("."), message
    if path.startswith("/v1"):
        assert error["type"] == "invalid_request_error"
        assert error["code"]
    assert not ollama.hits
    assert not await stores.fetch("select 1 from reservations")
    assert gateway.services.limiter.open_admissions == 0


@pytest.mark.promise("N5")
async def test_sizes_hold_to_the_byte(gateway: LiveGateway, ollama: FakeOllama, tenancy: Tenancy) -> None:
    limit = gateway.services.settings.max_body_bytes
    empty = json.dumps({"model": "fakea", "prompt": "", "stream": False}).encode()
    body = empty.replace(b'""', b'"' + b"x" * (limit - len(empty)) + b'"')
    async with gateway.http(tenancy.key) as http:
        assert len(body) == limit
        assert (await http.post("/api/generate", content=body)).status_code == 200
        answer = await http.post("/api/generate", content=body + b" ")
    assert answer.status_code == 413
    assert "MAX_BODY_BYTES" in answer.json()["error"]
    assert len(ollama.hits) == 1


@pytest.mark.promise("N5")
@pytest.mark.parametrize("encoding", ["gzip", "zstd", "br", "GZIP, identity"])
async def test_compressed_bodies_are_refused(gateway: LiveGateway, tenancy: Tenancy, encoding: str) -> None:
    async with gateway.http(tenancy.key) as http:
        answer = await http.post("/v1/chat/completions", content=b"{}", headers={"content-encoding": encoding})
    assert answer.status_code == 415


@pytest.mark.promise("A2")
async def test_two_different_credentials_are_refused(gateway: LiveGateway, tenancy: Tenancy) -> None:
    other = await make_tenancy(gateway.services)
    headers = [("authorization", f"Bearer {tenancy.key}"), ("authorization", f"Bearer {other.key}")]
    async with gateway.http() as http:
        assert (await http.get("/api/tags", headers=headers)).status_code == 400
        same = [("authorization", f"Bearer {tenancy.key}"), ("authorization", f"bearer {tenancy.key}")]
        assert (await http.get("/api/tags", headers=same)).status_code == 200


async def test_a_model_that_nobody_has_is_a_plain_404(gateway: LiveGateway, tenancy: Tenancy) -> None:
    async with gateway.http(tenancy.key) as http:
        native = await http.post("/api/chat", json={"model": "nope", "messages": [{"role": "user", "content": "x"}]})
        assert native.status_code == 404
        assert "nope" in native.json()["error"]


async def test_the_request_id_is_the_callers_or_a_new_one(gateway: LiveGateway, tenancy: Tenancy) -> None:
    async with gateway.http(tenancy.key) as http:
        assert (await http.get("/api/tags", headers={"x-request-id": "mine-1"})).headers["x-request-id"] == "mine-1"
        strange = (await http.get("/api/tags", headers={"x-request-id": "a b\tc"})).headers["x-request-id"]
        assert len(strange) == 32


async def test_the_open_pages_say_what_is_there(gateway: LiveGateway, ollama: FakeOllama) -> None:
    async with gateway.http() as http:
        assert (await http.get("/")).text == "neuronetz-gateway is running"
        assert (await http.get("/healthz")).json() == {"status": "ok"}
        assert (await http.get("/readyz")).json() == {"ready": True, "missing": {}}
        assert "neuronetz_requests_total" in (await http.get("/metrics")).text
        await ollama.stop()
        async with asyncio.timeout(5):  # an answer is kept for a second
            while (answer := await http.get("/readyz")).status_code == 200:
                await asyncio.sleep(0.1)
    assert answer.status_code == 503
    assert answer.json()["missing"] == {"ollama": "Ollama does not answer."}
