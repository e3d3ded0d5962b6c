"""Responses through the gateway: the upstream's own bytes, its own figures, nothing lost without a word."""

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

PATH = "/v1/responses"
BODY: dict[str, Any] = {"model": "fakea", "input": "Once upon a time", "max_output_tokens": 50}
ITEMS: list[Any] = [
    {"role": "user", "content": [{"type": "input_text", "text": "What is it?"}]},
    {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "c", "output": "a fjord"},
]


@pytest.fixture
async def tenancy(gateway: LiveGateway) -> Tenancy:
    return await make_tenancy(gateway.services)


def sdk(gateway: LiveGateway, tenancy: Tenancy) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        base_url=f"{gateway.base_url}/v1",
        api_key=tenancy.key,
        max_retries=0,
        http_client=openai.DefaultAsyncHttpxClient(verify=NO_TLS),
    )


@pytest.mark.promise("S5", "B2")
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("given", [BODY["input"], ITEMS], ids=["text", "items"])
async def test_the_answer_passes_by_hash_and_is_charged_exactly(
    gateway: LiveGateway, stores: Stores, ollama: FakeOllama, tenancy: Tenancy, stream: bool, given: Any
) -> None:
    async with gateway.http(tenancy.key) as http:
        for turn in range(10):
            ollama.next(Script(tokens=turn + 1))
            answer = await http.post(PATH, json=BODY | {"stream": stream, "input": given})
            assert hashlib.sha256(answer.content).hexdigest() == ollama.hits[-1].sent_digest
    assert await settled(stores, tenancy) == sum(seen.prompt_tokens + seen.tokens_generated for seen in ollama.hits)


@pytest.mark.promise("S3", "B7")
@pytest.mark.parametrize("fault", [Fault.SILENT_END, Fault.RESET, Fault.CLOSE_MID_CHUNK])
async def test_a_stream_that_dies_is_told_so_and_charged(
    gateway: LiveGateway, stores: Stores, ollama: FakeOllama, tenancy: Tenancy, fault: Fault
) -> None:
    ollama.script = Script(tokens=9, fault=fault, fault_after_records=8, gap_seconds=0.001)
    received = b""
    async with gateway.http(tenancy.key) as http:
        with pytest.raises(httpx.RemoteProtocolError):
            async with http.stream("POST", PATH, json=BODY | {"stream": True}) as answer:
                async for chunk in answer.aiter_raw():
                    received += chunk
    assert b'event: error\ndata: {"type":"error",' in received
    assert b"response.completed" not in received
    assert await settled(stores, tenancy) >= ollama.hits[0].prompt_tokens + 4


@pytest.mark.promise("B7")
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_an_answer_without_usage_is_not_free(
    gateway: LiveGateway, stores: Stores, ollama: FakeOllama, tenancy: Tenancy, stream: bool
) -> None:
    ollama.script = Script(tokens=9, omit_usage=True)
    async with gateway.http(tenancy.key) as http:
        assert (await http.post(PATH, json=BODY | {"stream": stream})).status_code == 200
    assert await settled(stores, tenancy) >= ollama.hits[0].prompt_tokens + 9


@pytest.mark.promise("N6")
async def test_the_cap_of_the_key_goes_up_whatever_was_asked(gateway: LiveGateway, ollama: FakeOllama) -> None:
    tenancy = await make_tenancy(gateway.services, key_limits=Limits(output_cap=7))
    async with gateway.http(tenancy.key) as http:
        for asked in ({"max_output_tokens": 500}, {"max_output_tokens": None}, {"max_output_tokens": 3}):
            assert (await http.post(PATH, json=BODY | asked)).status_code == 200
    assert [seen.json["max_output_tokens"] for seen in ollama.hits] == [7, 7, 3]


@pytest.mark.promise("N6")
async def test_a_search_of_the_web_is_left_out_and_named(
    gateway: LiveGateway, ollama: FakeOllama, tenancy: Tenancy
) -> None:
    function = {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}}
    async with gateway.http(tenancy.key) as http:
        answer = await http.post(PATH, json=BODY | {"tools": [{"type": "web_search"}, function]})
    assert answer.status_code == 200
    assert answer.headers["x-gateway-adjusted"] == "tools"
    assert ollama.hits[0].json["tools"] == [function]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": {"id": "conv_1"}}, "conversation"),
        ({"background": True}, "background"),
        ({"Previous_Response_Id": "resp_1"}, "previous_response_id"),
    ],
)
async def test_what_would_load_a_model_or_lose_the_context_is_refused_by_name(
    gateway: LiveGateway, ollama: FakeOllama, tenancy: Tenancy, fields: dict[str, Any], param: str
) -> None:
    async with gateway.http(tenancy.key) as http:
        answer = await http.post(PATH, json=BODY | fields)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert not ollama.hits


async def test_the_openai_sdk_responds_whole_and_streamed(
    gateway: LiveGateway, ollama: FakeOllama, tenancy: Tenancy
) -> None:
    ollama.script = Script(tokens=6)
    async with sdk(gateway, tenancy) as client:
        whole = await client.responses.create(model="fakea", input="Once", instructions="Be brief.")
        events = [
            event
            async for event in await client.responses.create(
                model="fakea", input="Once", instructions="Be brief.", stream=True
            )
        ]
        async with client.responses.stream(model="fakea", input="Once", instructions="Be brief.") as stream:
            final = await stream.get_final_response()
    assert whole.usage is not None
    assert whole.usage.output_tokens == 6
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == whole.output_text == final.output_text
    assert events[-1].type == "response.completed"


@pytest.mark.promise("S3")
async def test_the_openai_sdk_raises_where_the_stream_dies(
    gateway: LiveGateway, ollama: FakeOllama, tenancy: Tenancy
) -> None:
    ollama.script = Script(tokens=9, fault=Fault.SILENT_END, fault_after_records=8)
    async with sdk(gateway, tenancy) as client:
        stream = await client.responses.create(model="fakea", input="Once", stream=True)
        with pytest.raises(openai.APIError, match="before it was complete") as told:
            async for _ in stream:
                pass
    assert told.value.code == "model_server_error"
