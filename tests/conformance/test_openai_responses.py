"""The responses of the openai library for Python, by the gateway."""

import json
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import openai
import pytest
import pytest_asyncio

from tests.conformance.conftest import House
from tests.support.conformance_asks import (
    ANSWER,
    CALL,
    CALLS,
    COLOGNE,
    DESCRIBES,
    DIES,
    MODEL,
    SCHEMA,
    THINKING,
    THINKS,
    City,
)
from tests.support.conformance_matrix import OPENAI_PY
from tests.support.factories import make_tenancy
from tests.support.fake_ollama import Script
from tests.support.no_tls import NO_TLS

pytestmark = pytest.mark.asyncio(loop_scope="module")

shows: Callable[..., pytest.MarkDecorator] = partial(pytest.mark.conformance, surface="openai", sdk=OPENAI_PY)

RESPONSE_TOOLS: list[Any] = [{"type": "function", "name": "weather", "parameters": SCHEMA, "strict": False}]


@pytest_asyncio.fixture(loop_scope="module")
async def client(house: House) -> AsyncIterator[openai.AsyncOpenAI]:
    tenancy = await make_tenancy(house.services, models=["fakea:latest"])
    async with openai.AsyncOpenAI(
        base_url=f"{house.base_url}/v1", api_key=tenancy.key, http_client=openai.DefaultAsyncHttpxClient(verify=NO_TLS)
    ) as opened:
        yield opened


@shows(feature="response")
async def test_a_response_comes_whole(house: House, client: openai.AsyncOpenAI) -> None:
    house.ollama.script = Script(tokens=4, words=(" so", " it", " is"))
    answer = await client.responses.create(model=MODEL, input="Say hello.", instructions="Be brief.")
    assert (answer.status, answer.output_text) == ("completed", ANSWER)
    assert answer.usage is not None
    assert answer.usage.output_tokens == 4


@shows(feature="response, streamed")
async def test_a_response_comes_in_a_stream(house: House, client: openai.AsyncOpenAI) -> None:
    house.ollama.script = Script(tokens=4, words=(" so", " it", " is"))
    async with client.responses.stream(model=MODEL, input="Say hello.") as stream:
        deltas = [event.delta async for event in stream if event.type == "response.output_text.delta"]
        answer = await stream.get_final_response()
    assert "".join(deltas) == answer.output_text == ANSWER


@shows(feature="response with a tool call")
async def test_a_response_calls_a_tool(house: House, client: openai.AsyncOpenAI) -> None:
    house.ollama.script = CALLS
    whole = await client.responses.create(model=MODEL, input="Say hello.", tools=RESPONSE_TOOLS)
    async with client.responses.stream(model=MODEL, input="Say hello.", tools=RESPONSE_TOOLS) as stream:
        streamed = await stream.get_final_response()
    for answer in (whole, streamed):
        [call] = [item for item in answer.output if item.type == "function_call"]
        assert (call.call_id, call.name, json.loads(call.arguments)) == (CALL.id, CALL.name, CALL.arguments)
    assert house.sent["tools"] == RESPONSE_TOOLS


@shows(feature="response with structured output")
async def test_a_response_keeps_to_a_schema(house: House, client: openai.AsyncOpenAI) -> None:
    house.ollama.script = DESCRIBES
    answer = await client.responses.parse(model=MODEL, input="Say hello.", text_format=City)
    assert answer.output_parsed == COLOGNE
    sent: Any = house.sent["text"]
    assert sent["format"]["schema"]["required"] == ["name", "people"]


@shows(feature="response with thinking")
async def test_a_response_holds_its_thoughts(house: House, client: openai.AsyncOpenAI) -> None:
    house.ollama.script = THINKS
    whole = await client.responses.create(model=MODEL, input="Say hello.", reasoning={"effort": "high"})
    async with client.responses.stream(model=MODEL, input="Say hello.", reasoning={"effort": "high"}) as stream:
        streamed = await stream.get_final_response()
    for answer in (whole, streamed):
        [thoughts] = [item for item in answer.output if item.type == "reasoning"]
        assert (thoughts.summary[0].text, answer.output_text) == (THINKING, ANSWER)


@pytest.mark.promise("S3")
@shows(feature="death mid-stream")
async def test_a_stream_of_a_response_that_dies_raises(house: House, client: openai.AsyncOpenAI) -> None:
    house.ollama.script = DIES
    with pytest.raises(openai.APIError, match="The model server broke off its answer"):
        async for _ in await client.responses.create(model=MODEL, input="Once upon", stream=True):
            pass
