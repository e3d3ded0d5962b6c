"""POST /v1/messages, as programs written for Anthropic see it: served, charged to the token, refused in their words."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import httpx
import pytest

from neuronetz_gateway.domain.budget import Period
from neuronetz_gateway.domain.limit import Limits
from tests.gateway.test_broken_answers import booked, saying
from tests.gateway.test_budgeting import settled
from tests.support.factories import Tenancy, make_tenancy
from tests.support.fake_ollama import FakeOllama, Fault, Script
from tests.support.gateways import LiveGateway, live_gateway
from tests.support.no_tls import NO_TLS
from tests.support.stores import Stores
from tests.unit.surfaces import recorded_anthropic as recorded

PATH = "/v1/messages"
HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
ASK: dict[str, Any] = {"model": "fakea", "max_tokens": 100, "messages": HELLO}
TOOLS: list[Any] = [{"name": "set", "description": "sets it", "input_schema": {"type": "object", "properties": {}}}]


async def charged(stores: Stores, tenancy: Tenancy) -> dict[str, Any]:
    """The audit row of a tenant's one request."""
    await settled(stores, tenancy)
    [row] = await stores.fetch("select * from audit_log where tenant_id = $1", tenancy.tenant.id)
    return dict(row)


@pytest.fixture
async def sdk(gateway: LiveGateway) -> AsyncIterator[anthropic.AsyncAnthropic]:
    tenancy = await make_tenancy(gateway.services, models=["fakea:latest"])
    async with anthropic.AsyncAnthropic(
        base_url=gateway.base_url,
        api_key=tenancy.key,
        max_retries=0,
        http_client=anthropic.DefaultAsyncHttpxClient(verify=NO_TLS),
    ) as client:
        yield client


# --- Anthropic's own SDK


async def test_the_sdk_gets_a_whole_message(sdk: anthropic.AsyncAnthropic, ollama: FakeOllama) -> None:
    message = await sdk.messages.create(**ASK)
    assert [block.type for block in message.content] == ["text"]
    assert message.usage.output_tokens == ollama.hits[0].tokens_generated
    assert ollama.hits[0].model == "fakea:latest"


async def test_the_sdk_streams_a_message(sdk: anthropic.AsyncAnthropic, ollama: FakeOllama) -> None:
    ollama.script = Script(tokens=20)
    async with sdk.messages.stream(**ASK) as stream:
        texts = [text async for text in stream.text_stream]
        message = await stream.get_final_message()
    assert len(texts) == 20
    assert message.usage.output_tokens == 20


async def test_the_sdk_names_every_refusal(sdk: anthropic.AsyncAnthropic, ollama: FakeOllama) -> None:
    with pytest.raises(anthropic.PermissionDeniedError, match="fakeb:latest"):
        await sdk.messages.create(**ASK | {"model": "fakeb"})
    with pytest.raises(anthropic.BadRequestError, match="max_tokens"):
        await sdk.messages.create(**ASK | {"max_tokens": 0})
    with pytest.raises(anthropic.NotFoundError):
        await sdk.messages.count_tokens(model="fakea", messages=HELLO)
    with pytest.raises(anthropic.AuthenticationError, match="Invalid API key"):
        await sdk.with_options(api_key="nz_" + "x" * 41).messages.create(**ASK)
    assert not ollama.hits


async def test_the_sdk_is_told_of_a_stream_that_broke(sdk: anthropic.AsyncAnthropic, ollama: FakeOllama) -> None:
    ollama.script = Script(tokens=9, fault=Fault.SILENT_END, fault_after_records=5)
    with pytest.raises(anthropic.APIStatusError, match="before it was complete"):
        async with sdk.messages.stream(**ASK) as stream:
            await stream.get_final_message()


# --- what is charged


@pytest.mark.promise("B2")
@pytest.mark.parametrize("streamed", [True, False])
async def test_a_message_is_charged_exactly_what_was_reported(
    gateway: LiveGateway, stores: Stores, ollama: FakeOllama, streamed: bool
) -> None:
    ollama.script = Script(tokens=12, prompt_tokens=77, reported_output_tokens=15)
    tenancy = await make_tenancy(gateway.services)
    async with gateway.http(tenancy.key) as http:
        answer = await http.post(PATH, json=ASK | {"stream": streamed})
    assert answer.status_code == 200
    row = await charged(stores, tenancy)
    assert (row["outcome"], row["estimated"], row["endpoint"]) == ("completed", False, PATH)
    assert (row["prompt_tokens"], row["output_tokens"]) == (77, 15)


@pytest.mark.promise("B7")
@pytest.mark.parametrize("script", [Script(tokens=7, omit_usage=True), Script(tokens=7, zero_usage=True)])
@pytest.mark.parametrize("streamed", [True, False])
async def test_an_answer_without_usage_is_never_free(
    gateway: LiveGateway, stores: Stores, ollama: FakeOllama, script: Script, streamed: bool
) -> None:
    ollama.script = script
    tenancy = await make_tenancy(gateway.services)
    async with gateway.http(tenancy.key) as http:
        await http.post(PATH, json=ASK | {"stream": streamed})
    row = await charged(stores, tenancy)
    assert row["estimated"]
    assert row["output_tokens"] == (7 if streamed else 100)
    assert row["prompt_tokens"] > 1024


@pytest.mark.promise("S3")
@pytest.mark.parametrize(
    "fault", [Fault.SILENT_END, Fault.ERROR_RECORD, Fault.RESET, Fault.CLOSE_MID_CHUNK, Fault.GARBAGE_FRAMING]
)
async def test_a_broken_stream_ends_with_an_error_event_abnormally_and_charged(
    gateway: LiveGateway, stores: Stores, ollama: FakeOllama, fault: Fault
) -> None:
    ollama.script = Script(tokens=9, fault=fault, fault_after_records=6, gap_seconds=0.001)
    tenancy = await make_tenancy(gateway.services)
    received = b""
    async with gateway.http(tenancy.key) as http:
        with pytest.raises(httpx.RemoteProtocolError):
            async with http.stream("POST", PATH, json=ASK | {"stream": True}) as answer:
                async for chunk in answer.aiter_raw():
                    received += chunk
    *_, last, end = received.split(b"\n\n")
    assert end == b""
    name, data = last.split(b"\n")
    assert name == b"event: error"
    assert json.loads(data.removeprefix(b"data: "))["type"] == "error"
    assert b"message_stop" not in received
    row = await charged(stores, tenancy)
    assert (row["outcome"], row["estimated"], row["output_tokens"]) == ("upstream_broken", True, 4)
    assert row["prompt_tokens"] > 1024


async def test_an_answer_past_its_reservation_is_cut(gateway: LiveGateway, stores: Stores, ollama: FakeOllama) -> None:
    ollama.script = Script(tokens=10, overrun_tokens=50, gap_seconds=0.002)
    tenancy = await make_tenancy(gateway.services)
    async with gateway.http(tenancy.key) as http:
        with pytest.raises(httpx.RemoteProtocolError):
            await http.post(PATH, json=ASK | {"stream": True, "max_tokens": 10})
    assert (await booked(stores, tenancy))[0] == "cut"
    assert ollama.hits[0].json["max_tokens"] == 10


async def test_what_is_left_of_a_budget_caps_the_answer(gateway: LiveGateway, ollama: FakeOllama) -> None:
    spent = await make_tenancy(gateway.services, budget={Period.TOTAL: 1})
    async with gateway.http(spent.key) as http:
        refused = await http.post(PATH, json=ASK)
    assert refused.status_code == 429
    assert refused.headers["x-should-retry"] == "false"
    bound = int(refused.json()["error"]["message"].split("prompt up to ")[1].split()[0].replace(",", ""))
    tenancy = await make_tenancy(gateway.services, budget={Period.TOTAL: bound + 30})
    async with gateway.http(tenancy.key) as http:
        assert (await http.post(PATH, json=ASK)).status_code == 200
    assert [hit.json["max_tokens"] for hit in ollama.hits] == [30]


# --- what passes


@pytest.mark.promise("S5")
async def test_a_tool_call_passes_byte_by_byte(stores: Stores) -> None:
    for stream, kind in ((recorded.MESSAGES_SSE, b"text/event-stream"), (recorded.WHOLE_BODY, b"application/json")):
        head = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
        async with saying(head % (kind, len(stream)) + stream) as url, live_gateway(stores, url) as gateway:
            tenancy = await make_tenancy(gateway.services)
            streamed = stream is recorded.MESSAGES_SSE
            async with gateway.http(tenancy.key) as http:
                answer = await http.post(PATH, json=ASK | {"stream": streamed, "tools": TOOLS})
            assert answer.content == stream
            assert answer.headers["content-type"] == kind.decode()
            row = await charged(stores, tenancy)
            assert (row["prompt_tokens"], row["output_tokens"], row["estimated"]) == (11, 6, False)


@pytest.mark.promise("N6")
async def test_a_search_by_the_server_never_goes_up(gateway: LiveGateway, ollama: FakeOllama) -> None:
    tenancy = await make_tenancy(gateway.services)
    search = {"type": "web_search_20250305", "name": "web_search"}
    async with gateway.http(tenancy.key) as http:
        answer = await http.post(f"{PATH}?beta=true", json=ASK | {"tools": [search, *TOOLS]})
        assert answer.headers["x-gateway-adjusted"] == "tools"
        await http.post(PATH, json=ASK | {"tools": [search]})
    assert [hit.json.get("tools") for hit in ollama.hits] == [TOOLS, None]
    assert [hit.target for hit in ollama.hits] == [PATH, PATH]


@pytest.mark.promise("S5")
async def test_no_record_is_held_back(gateway: LiveGateway, ollama: FakeOllama) -> None:
    gate = asyncio.Event()
    ollama.script = Script(tokens=6, gate=gate, gate_after_records=5)
    tenancy = await make_tenancy(gateway.services)
    async with (
        gateway.http(tenancy.key) as http,
        http.stream("POST", PATH, json=ASK | {"stream": True}) as answer,
    ):
        names = (line async for line in answer.aiter_lines() if line.startswith("event:"))
        first = [await anext(names) for _ in range(5)]  # two that frame, three tokens
        gate.set()
        rest = [name async for name in names]
    assert first[-1] == "event: content_block_delta"
    assert rest[-1] == "event: message_stop"


# --- refusals


async def test_refusals_come_in_the_envelope_of_the_protocol(gateway: LiveGateway, ollama: FakeOllama) -> None:
    tenancy = await make_tenancy(gateway.services, models=["fakea:latest"], key_limits=Limits(rpm=1))
    async with gateway.http(tenancy.key) as http:
        answers = [
            await http.post(PATH, json=ASK | {"model": "fakeb"}),
            await http.post(PATH, json={"model": "fakea", "messages": HELLO}),
            await http.post(f"{PATH}/count_tokens", json=ASK),
            await http.post(f"{PATH}/batches", json={}),
            await http.get(PATH),
        ]
        assert not ollama.hits
        assert (await http.post(PATH, json=ASK)).status_code == 200
        answers.append(await http.post(PATH, json=ASK))
    told = [(answer.status_code, answer.json()["error"]["type"]) for answer in answers]
    assert told == [
        (403, "permission_error"),
        (400, "invalid_request_error"),
        (404, "not_found_error"),
        (404, "not_found_error"),
        (404, "not_found_error"),
        (429, "rate_limit_error"),
    ]
    assert all(answer.json()["type"] == "error" for answer in answers)
    assert answers[1].json()["error"]["message"].startswith("'max_tokens' is missing")
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 61


async def test_what_the_model_server_refuses_is_told_in_its_words(gateway: LiveGateway, ollama: FakeOllama) -> None:
    tenancy = await make_tenancy(gateway.services)
    ollama.next(Script(status=400, error="invalid base64 image data"), Script(status=503, error="busy"))
    async with gateway.http(tenancy.key) as http:
        refused, busy = await http.post(PATH, json=ASK), await http.post(PATH, json=ASK)
    assert refused.status_code == 400
    assert "nvalid base64 image data" in refused.json()["error"]["message"]
    assert (busy.status_code, busy.json()["error"]["type"]) == (503, "overloaded_error")
