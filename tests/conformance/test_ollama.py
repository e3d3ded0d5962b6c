"""The ollama library for Python against the gateway."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import ollama
import pytest
import pytest_asyncio

from neuronetz_gateway.domain.budget import Period
from neuronetz_gateway.domain.limit import Limits
from tests.conformance.conftest import House, Tell
from tests.support.conformance_asks import (
    ANSWER,
    BAD_KEY,
    CALL,
    CALLS,
    COLOGNE,
    DESCRIBES,
    DIES,
    MESSAGES,
    MODEL,
    PNG,
    THINKING,
    THINKS,
    TOOL,
    City,
)
from tests.support.conformance_matrix import OLLAMA_PY
from tests.support.factories import make_tenancy
from tests.support.fake_ollama import Script
from tests.support.no_tls import NO_TLS

pytestmark = pytest.mark.asyncio(loop_scope="module")

shows: Callable[..., pytest.MarkDecorator] = partial(pytest.mark.conformance, surface="ollama", sdk=OLLAMA_PY)

type Connect = Callable[[str], ollama.AsyncClient]


@pytest_asyncio.fixture(loop_scope="module")
async def connect(house: House) -> AsyncIterator[Connect]:
    """Opens clients by their key."""
    opened: list[ollama.AsyncClient] = []

    def connecting(key: str) -> ollama.AsyncClient:
        client = ollama.AsyncClient(
            house.base_url, headers={"Authorization": f"Bearer {key}"}, verify=NO_TLS, trust_env=False
        )
        opened.append(client)
        return client

    yield connecting
    for client in opened:
        await client._client.aclose()  # it has no public way to be closed


@pytest_asyncio.fixture(loop_scope="module")
async def client(house: House, connect: Connect) -> ollama.AsyncClient:
    """One whose key may use two models."""
    tenancy = await make_tenancy(house.services, models=["fakea:latest", "qwen3:8b"])
    return connect(tenancy.key)


@shows(feature="answer")
async def test_an_answer_comes_whole(house: House, client: ollama.AsyncClient) -> None:
    answer = await client.chat(MODEL, MESSAGES)
    assert answer.done
    assert answer.message.content
    assert answer.eval_count == house.ollama.hits[-1].tokens_generated


@shows(feature="answer")
async def test_the_synchronous_client_gets_the_same(house: House) -> None:
    tenancy = await make_tenancy(house.services)

    def ask() -> ollama.ChatResponse:
        client = ollama.Client(
            house.base_url, headers={"Authorization": f"Bearer {tenancy.key}"}, verify=NO_TLS, trust_env=False
        )
        try:
            return client.chat(MODEL, MESSAGES)
        finally:
            client._client.close()

    assert (await asyncio.to_thread(ask)).message.content


@shows(feature="answer, streamed")
async def test_an_answer_comes_in_a_stream(house: House, client: ollama.AsyncClient) -> None:
    house.ollama.script = Script(tokens=20)
    parts = [part async for part in await client.chat(MODEL, MESSAGES, stream=True)]
    assert len(parts) == 21
    assert parts[-1].done
    assert parts[-1].eval_count == 20


@shows(feature="tool call")
async def test_a_tool_is_called(house: House, client: ollama.AsyncClient) -> None:
    house.ollama.script = CALLS
    answer = await client.chat(MODEL, MESSAGES, tools=[TOOL])
    assert _calls(answer) == [(CALL.name, CALL.arguments)]
    assert house.sent["tools"] == [TOOL]


@shows(feature="tool call, streamed")
async def test_a_tool_is_called_in_a_stream(house: House, client: ollama.AsyncClient) -> None:
    house.ollama.script = CALLS
    parts = [part async for part in await client.chat(MODEL, MESSAGES, tools=[TOOL], stream=True)]
    assert [call for part in parts for call in _calls(part)] == [(CALL.name, CALL.arguments)]
    assert parts[-1].done


@shows(feature="tool result, sent back")
async def test_what_a_tool_said_goes_back(house: House, client: ollama.AsyncClient) -> None:
    house.ollama.next(CALLS)
    asked = await client.chat(MODEL, MESSAGES, tools=[TOOL])
    answer = await client.chat(
        MODEL, [*MESSAGES, asked.message, {"role": "tool", "content": "Sun.", "tool_name": CALL.name}], tools=[TOOL]
    )
    assert answer.message.content
    question, call, result = _sent_messages(house)
    assert question == MESSAGES[0]
    assert call["tool_calls"][0]["function"] == {"name": CALL.name, "arguments": CALL.arguments}
    assert result == {"role": "tool", "content": "Sun.", "tool_name": CALL.name}


@shows(feature="structured output")
async def test_an_answer_keeps_to_a_schema(house: House, client: ollama.AsyncClient) -> None:
    house.ollama.script = DESCRIBES
    answer = await client.chat(MODEL, MESSAGES, format=City.model_json_schema())
    assert City.model_validate_json(answer.message.content or "") == COLOGNE
    assert house.sent["format"] == City.model_json_schema()


@shows(feature="thinking")
async def test_thoughts_come_beside_the_answer(house: House, client: ollama.AsyncClient) -> None:
    house.ollama.script = THINKS
    answer = await client.chat(MODEL, MESSAGES, think=True)
    assert (answer.message.thinking, answer.message.content) == (THINKING, ANSWER)
    assert house.sent["think"] is True


@shows(feature="thinking, streamed")
async def test_thoughts_come_before_the_answer_in_a_stream(house: House, client: ollama.AsyncClient) -> None:
    house.ollama.script = THINKS
    parts = [part async for part in await client.chat(MODEL, MESSAGES, think="high", stream=True)]
    assert "".join(part.message.thinking or "" for part in parts) == THINKING
    assert "".join(part.message.content or "" for part in parts) == ANSWER


@shows(feature="image")
async def test_an_image_reaches_the_model(house: House, client: ollama.AsyncClient) -> None:
    await client.chat(MODEL, [{"role": "user", "content": "What is it?", "images": [PNG]}])
    assert _sent_messages(house)[0]["images"] == [PNG]
    await client.generate(MODEL, "What is it?", images=[PNG])
    assert house.sent["images"] == [PNG]


@shows(feature="completion")
async def test_a_prompt_is_completed(house: House, client: ollama.AsyncClient) -> None:
    house.ollama.script = THINKS
    answer = await client.generate(MODEL, "Once upon", think=True)
    assert (answer.thinking, answer.response) == (THINKING, ANSWER)


@shows(feature="completion, streamed")
async def test_a_prompt_is_completed_in_a_stream(house: House, client: ollama.AsyncClient) -> None:
    house.ollama.script = THINKS
    parts = [part async for part in await client.generate(MODEL, "Once upon", stream=True)]
    assert "".join(part.response or "" for part in parts) == ANSWER
    assert parts[-1].done


@shows(feature="embeddings")
async def test_texts_are_embedded(client: ollama.AsyncClient) -> None:
    answer = await client.embed(MODEL, ["one", "two"])
    assert [len(vector) for vector in answer.embeddings] == [8, 8]
    assert answer.prompt_eval_count


@shows(feature="embeddings, the old way")
async def test_a_text_is_embedded_the_old_way(client: ollama.AsyncClient) -> None:
    assert len((await client.embeddings(MODEL, "one")).embedding) == 8


@shows(feature="list of models")
async def test_only_the_models_of_the_key_are_listed(client: ollama.AsyncClient) -> None:
    assert [model.model for model in (await client.list()).models] == ["fakea:latest", "qwen3:8b"]


@shows(feature="page of a model")
async def test_a_model_is_shown(client: ollama.AsyncClient) -> None:
    page = await client.show(MODEL)
    assert page.capabilities == ["completion", "tools"]
    assert page.details is not None
    assert page.details.parameter_size == "3.2B"


@shows(feature="loaded models")
async def test_only_the_loaded_models_of_the_key_are_listed(client: ollama.AsyncClient) -> None:
    assert [model.model for model in (await client.ps()).models] == ["fakea:latest"]


@shows(feature="bad key")
async def test_a_bad_key_is_told_so(house: House, connect: Connect, tell: Tell) -> None:
    with pytest.raises(ollama.ResponseError, match=r"^Invalid API key\.") as raised:
        await connect(BAD_KEY).chat(MODEL, MESSAGES)
    tell(_told(raised.value, 401))
    assert len(house.arrivals) == 1


@shows(feature="forbidden model")
async def test_a_forbidden_model_is_named(house: House, client: ollama.AsyncClient, tell: Tell) -> None:
    with pytest.raises(ollama.ResponseError, match="may not use the model 'fakeb:latest'") as raised:
        await client.chat("fakeb", MESSAGES)
    tell(_told(raised.value, 403))
    assert not house.ollama.hits


@shows(feature="unknown model")
async def test_an_unknown_model_is_named(house: House, connect: Connect, tell: Tell) -> None:
    tenancy = await make_tenancy(house.services)
    with pytest.raises(ollama.ResponseError, match="model 'nobody:latest'") as raised:
        await connect(tenancy.key).chat("nobody", MESSAGES)
    tell(_told(raised.value, 404))


@shows(feature="closed endpoint")
async def test_a_model_cannot_be_pulled(house: House, client: ollama.AsyncClient, tell: Tell) -> None:
    with pytest.raises(ollama.ResponseError, match="blocked by the gateway") as raised:
        await client.pull("fakec")
    tell(_told(raised.value, 403))
    assert not house.ollama.dangerous_hits


@shows(feature="spent budget")
async def test_a_spent_budget_says_what_is_left(house: House, connect: Connect, tell: Tell) -> None:
    tenancy = await make_tenancy(house.services, budget={Period.DAILY: 100})
    with pytest.raises(ollama.ResponseError, match="100 of 100 tokens left") as raised:
        await connect(tenancy.key).chat(MODEL, MESSAGES)
    tell(_told(raised.value, 429))
    assert house.arrivals == ["/api/chat"]


@pytest.mark.promise("L6")
@shows(feature="rate limit")
async def test_a_rate_limit_says_when_to_come_back(house: House, connect: Connect, tell: Tell) -> None:
    client = connect((await make_tenancy(house.services, key_limits=Limits(rpm=1))).key)
    await client.chat(MODEL, MESSAGES)
    with pytest.raises(ollama.ResponseError, match=r"1 request a minute \(key\.rpm\)") as raised:
        await client.chat(MODEL, MESSAGES)
    tell(_told(raised.value, 429))
    told = re.search(r"Try again in (\d+) s\.$", raised.value.error)
    assert told is not None
    await asyncio.sleep(int(told[1]))  # it does not retry by itself, so its caller waits as the message says
    assert (await client.chat(MODEL, MESSAGES)).done


@shows(feature="model server away")
async def test_a_model_server_that_is_away_is_told_so(house: House, client: ollama.AsyncClient, tell: Tell) -> None:
    await house.ollama.stop()
    try:
        with pytest.raises(
            ollama.ResponseError, match=r"^The model server cannot be reached\. \(status code: 503\)$"
        ) as raised:
            await client.chat(MODEL, MESSAGES)
    finally:
        await house.ollama.start()
    tell(_told(raised.value, 503))


@pytest.mark.promise("S3")
@shows(feature="death mid-stream")
async def test_a_stream_that_dies_does_not_end_as_if_whole(
    house: House, client: ollama.AsyncClient, tell: Tell
) -> None:
    house.ollama.script = DIES
    parts = []
    with pytest.raises(ollama.ResponseError, match="The model server broke off its answer") as raised:
        async for part in await client.chat(MODEL, MESSAGES, stream=True):
            parts.append(part)  # noqa: PERF401 - what came before the error counts
    tell(f"`{type(raised.value).__name__}`")
    assert len(parts) == 5


def _calls(answer: ollama.ChatResponse) -> list[tuple[str, Any]]:
    return [(call.function.name, call.function.arguments) for call in answer.message.tool_calls or ()]


def _sent_messages(house: House) -> list[Any]:
    messages = house.sent["messages"]
    assert isinstance(messages, list)
    return messages


def _told(error: ollama.ResponseError, status: int) -> str:
    assert error.status_code == status
    return f"`{type(error).__name__}` {status}"
