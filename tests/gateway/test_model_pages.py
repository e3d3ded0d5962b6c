"""The page of one model: out of the list, for those who may use it, never by the caller's own path."""

from typing import Any

import openai
import pytest

from tests.support.factories import make_tenancy
from tests.support.fake_ollama import FakeOllama, Script
from tests.support.gateways import LiveGateway
from tests.support.no_tls import NO_TLS
from tests.support.raw_http import request_bytes, send_raw

MODELS = ("fakea:latest", "fakeb:latest", "hf.co/Some/model:Q4_K_M")
ENTRY: dict[str, Any] = {"object": "model", "owned_by": "library"}
DANGEROUS = (
    "/v1/models/../../api/pull",
    "/v1/models/../api/pull",
    "/v1/models/%2e%2e%2fapi%2fpull",
    "/v1/models/%2e%2e%2f%2e%2e%2fapi%2fpull",
    "/v1/models/..%2f..%2fapi%2fpull",
    "/v1/models/%252e%252e%252fapi%252fpull",
    "/v1/models/x%00",
    "/v1/models/fakea%00",
    "/v1/models/x:cloud",
    "/v1/models/fakea:latest-cloud",
    "/v1/models/fakea%3Acloud",
    "/v1/models/fakea:local",
    "/v1/models/x%3fy",
    "/v1/models/x%23y",
    "/v1/models/fakea%20",
    "/v1/models/%20fakea",
    "/v1/models/fakea%0d%0aHost:%20x",
    "/v1/models/http:%2f%2fevil%2ffakea",
    "/v1/models/fakea@sha256:abc",
    "/v1/models/",
    "/v1/models//",
    "/v1/models//fakea",
    "/v1/models/fakea/",
    "/v1/models/./fakea",
    "/v1/models/a/b/c/d",
    "/v1/models/fak%C3%A9a",
    "/v1/models/{model}",
    "/V1/models/fakea",
    "/v1%2fmodels/fakea",
    "/v1/models%2ffakea",
    "/v1/./models/fakea",
)


@pytest.mark.promise("A13")
@pytest.mark.parametrize(
    ("spelling", "listed"),
    [
        ("fakea", "fakea:latest"),
        ("FakeA:Latest", "fakea:latest"),
        ("fakea%3Alatest", "fakea:latest"),
        ("library%2Ffakea", "fakea:latest"),
        ("registry.ollama.ai/library/fakea", "fakea:latest"),
        ("hf.co%2Fsome%2Fmodel%3Aq4_k_m", "hf.co/Some/model:Q4_K_M"),
        ("fakea?model=fakeb", "fakea:latest"),
    ],
)
async def test_a_model_is_shown_as_it_is_listed_in_whatever_spelling(
    gateway: LiveGateway, ollama: FakeOllama, spelling: str, listed: str
) -> None:
    ollama.models = MODELS
    key = (await make_tenancy(gateway.services)).key
    async with gateway.http(key) as http:
        [entry] = [each for each in (await http.get("/v1/models")).json()["data"] if each["id"] == listed]
        answer = await http.get(f"/v1/models/{spelling}")
    assert answer.json() == entry
    assert entry.items() >= ENTRY.items()
    assert {seen.target for seen in ollama.requests if seen.target.startswith("/v1")} == {"/v1/models"}


@pytest.mark.promise("A12", "A13")
async def test_a_model_that_the_key_may_not_use_is_forbidden_whether_it_exists_or_not(
    gateway: LiveGateway, ollama: FakeOllama
) -> None:
    key = (await make_tenancy(gateway.services, models=["fakea:latest"])).key
    async with gateway.http(key) as http:
        answers = [await http.get(f"/v1/models/{name}") for name in ("fakeb", "nothing")]
    assert [answer.status_code for answer in answers] == [403, 403]
    assert answers[0].json()["error"]["code"] == "model_not_allowed"
    assert not [seen for seen in ollama.requests if seen.target.startswith("/v1")]


async def test_a_model_that_is_not_there_is_not_found(gateway: LiveGateway, ollama: FakeOllama) -> None:
    key = (await make_tenancy(gateway.services)).key
    async with gateway.http(key) as http:
        answer = await http.get("/v1/models/nothing")
    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == "The model server has no model 'nothing:latest'."
    assert not ollama.hits


@pytest.mark.promise("N2")
@pytest.mark.parametrize("with_key", [False, True])
async def test_no_spelling_of_a_path_gets_past_the_name_of_a_model(
    gateway: LiveGateway, ollama: FakeOllama, with_key: bool
) -> None:
    key = (await make_tenancy(gateway.services)).key if with_key else None
    for target in DANGEROUS:
        for method in ("GET", "POST", "DELETE"):
            answer = await send_raw(gateway.base_url, request_bytes(method, target, key=key))
            assert answer.status in {403, 404}, (method, target, answer)
    for method in ("HEAD", "POST", "PUT", "DELETE"):
        answer = await send_raw(gateway.base_url, request_bytes(method, "/v1/models/fakea", key=key))
        assert answer.status == 404, (method, answer)
    assert not [seen for seen in ollama.requests if seen.target.startswith("/v1") or "pull" in seen.target]
    assert not ollama.dangerous_hits


@pytest.mark.promise("P2")
async def test_the_metrics_name_the_row_of_the_table_not_the_model(gateway: LiveGateway, ollama: FakeOllama) -> None:
    key = (await make_tenancy(gateway.services)).key
    async with gateway.http(key) as http:
        await http.get("/v1/models/fakea")
        await http.get("/v1/models/nothing")
        metrics = (await http.get("/metrics")).text
    assert 'endpoint="/v1/models/{model}"' in metrics
    assert "fakea" not in metrics
    assert "nothing" not in metrics
    assert not ollama.hits


async def test_the_openai_sdk_retrieves_a_model(gateway: LiveGateway, ollama: FakeOllama) -> None:
    ollama.models = MODELS
    key = (await make_tenancy(gateway.services)).key
    async with openai.AsyncOpenAI(
        base_url=f"{gateway.base_url}/v1",
        api_key=key,
        max_retries=0,
        http_client=openai.DefaultAsyncHttpxClient(verify=NO_TLS),
    ) as client:
        for name in ("fakea", "hf.co/Some/model:Q4_K_M"):
            assert (await client.models.retrieve(name)).object == "model"
        with pytest.raises(openai.NotFoundError, match="no model 'nothing:latest'"):
            await client.models.retrieve("nothing")


async def test_a_list_that_fails_is_no_missing_model(gateway: LiveGateway, ollama: FakeOllama) -> None:
    ollama.metadata_script = Script(status=500)
    key = (await make_tenancy(gateway.services)).key
    async with gateway.http(key) as http:
        assert (await http.get("/v1/models/fakea")).status_code == 502
