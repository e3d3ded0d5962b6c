"""Text completions through the gateway: the upstream's own bytes, its own figures, nothing beyond the cap."""

import hashlib
from typing import Any

import httpx
import openai
import pytest

from neuronetz_gateway.domain.limit import Limits
from tests.gateway.test_budgeting import settled
from tests.support.factories import Tenancy, make_tenancy
from tests.support.fake_ollama import FakeOllama, Fault, Script
from tests.support.gateways import LiveGateway
from tests.support.no_tls import NO_TLS
from tests.support.stores import Stores

PATH = "/v1/completions"
BODY: dict[str, Any] = {"model": "fakea", "prompt": "Once upon a time", "max_tokens": 50}
WITH_USAGE: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
ZERO_USAGE = b',"usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}'


@pytest.fixture
async def tenancy(gateway: LiveGateway) -> Tenancy:
    return await make_tenancy(gateway.services)


def true_cost(ollama: FakeOllama) -> int:
    return sum(seen.prompt_tokens + seen.tokens_generated for seen in ollama.hits)


@pytest.mark.promise("S5", "B2")
@pytest.mark.parametrize("extra", [{}, WITH_USAGE], ids=["whole", "streamed with usage"])
async def test_what_was_asked_for_as_it_is_passes_by_hash_and_is_charged_exactly(
    gateway: LiveGateway, stores: Stores, ollama: FakeOllama, tenancy: Tenancy, extra: dict[str, Any]
) -> None:
    async with gateway.http(tenancy.key) as http:
        for turn in range(10):
            ollama.next(Script(tokens=turn + 1))
            answer = await http.post(PATH, json=BODY | extra)
            assert hashlib.sha256(answer.content).hexdigest() == ollama.hits[-1].sent_digest
    assert await settled(stores, tenancy) == true_cost(ollama)


@pytest.mark.promise("S5", "B2")
async def test_only_the_usage_that_the_gateway_asked_for_is_taken_out(
    gateway: LiveGateway, stores: Stores, ollama: FakeOllama, tenancy: Tenancy
) -> None:
    ollama.script = Script(tokens=20)
    async with gateway.http(tenancy.key) as http:
        asked = await http.post(PATH, json=BODY | WITH_USAGE)
        plain = await http.post(PATH, json=BODY | {"stream": True})
    records = asked.content.replace(ZERO_USAGE, b"").split(b"\n\n")
    assert asked.content.count(ZERO_USAGE) == 21
    assert plain.content.split(b"\n\n") == [record for record in records if b'"choices":[]' not in record]
    assert b"usage" not in plain.content
    assert all(seen.json["stream_options"] == {"include_usage": True} for seen in ollama.hits)
    assert await settled(stores, tenancy) == true_cost(ollama)


@pytest.mark.promise("S3", "B7")
@pytest.mark.parametrize("fault", [Fault.SILENT_END, Fault.ERROR_RECORD, Fault.RESET])
async def test_a_stream_that_dies_is_told_so_and_charged(
    gateway: LiveGateway, stores: Stores, ollama: FakeOllama, tenancy: Tenancy, fault: Fault
) -> None:
    ollama.script = Script(tokens=9, fault=fault, fault_after_records=4, gap_seconds=0.001)
    received = b""
    async with gateway.http(tenancy.key) as http:
        with pytest.raises(httpx.RemoteProtocolError):
            async with http.stream("POST", PATH, json=BODY | {"stream": True}) as answer:
                async for chunk in answer.aiter_raw():
                    received += chunk
    assert b'data: {"error":' in received
    assert b"[DONE]" not in received
    assert await settled(stores, tenancy) >= ollama.hits[0].prompt_tokens + 4


@pytest.mark.promise("N6")
async def test_the_cap_of_the_key_goes_up_whatever_was_asked(gateway: LiveGateway, ollama: FakeOllama) -> None:
    tenancy = await make_tenancy(gateway.services, key_limits=Limits(output_cap=7))
    async with gateway.http(tenancy.key) as http:
        for asked in ({"max_tokens": 500}, {"max_tokens": None}, {"max_tokens": 3}):
            assert (await http.post(PATH, json=BODY | asked)).status_code == 200
    assert [seen.json["max_tokens"] for seen in ollama.hits] == [7, 7, 3]


@pytest.mark.parametrize("prompt", ["", None, ["a", "b"], [1, 2]])
async def test_a_prompt_that_is_no_text_is_refused_by_name(
    gateway: LiveGateway, ollama: FakeOllama, tenancy: Tenancy, prompt: Any
) -> None:
    async with gateway.http(tenancy.key) as http:
        answer = await http.post(PATH, json=BODY | {"prompt": prompt})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "prompt"
    assert not ollama.hits


async def test_the_openai_sdk_completes_whole_and_streamed(
    gateway: LiveGateway, ollama: FakeOllama, tenancy: Tenancy
) -> None:
    ollama.script = Script(tokens=6)
    base_url = f"{gateway.base_url}/v1"
    async with openai.AsyncOpenAI(
        base_url=base_url, api_key=tenancy.key, max_retries=0, http_client=openai.DefaultAsyncHttpxClient(verify=NO_TLS)
    ) as client:
        whole = await client.completions.create(model="fakea", prompt="Once", suffix="end", max_tokens=50)
        stream = await client.completions.create(model="fakea", prompt="Once", suffix="end", max_tokens=50, stream=True)
        chunks = [chunk async for chunk in stream]
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 6
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
    assert not any(chunk.usage for chunk in chunks)


@pytest.mark.promise("S3")
async def test_the_openai_sdk_raises_where_the_stream_dies(
    gateway: LiveGateway, ollama: FakeOllama, tenancy: Tenancy
) -> None:
    ollama.script = Script(tokens=9, fault=Fault.SILENT_END, fault_after_records=4)
    async with openai.AsyncOpenAI(
        base_url=f"{gateway.base_url}/v1",
        api_key=tenancy.key,
        max_retries=0,
        http_client=openai.DefaultAsyncHttpxClient(verify=NO_TLS),
    ) as client:
        stream = await client.completions.create(model="fakea", prompt="Once", stream=True)
        with pytest.raises(openai.APIError, match="before it was complete"):
            async for _ in stream:
                pass
