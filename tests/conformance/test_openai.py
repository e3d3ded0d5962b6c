"""The openai library for Python against the gateway."""

import json
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import openai
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
    PICTURE,
    THINKING,
    THINKS,
    TOOL,
    City,
)
from tests.support.conformance_matrix import OPENAI_PY
from tests.support.factories import make_tenancy
from tests.support.fake_ollama import Script
from tests.support.no_tls import NO_TLS

pytestmark = pytest.mark.asyncio(loop_scope="module")

shows: Callable[..., pytest.MarkDecorator] = partial(pytest.mark.conformance, surface="openai", sdk=OPENAI_PY)

TOOLS: list[Any] = [TOOL]

type Connect = Callable[..., openai.AsyncOpenAI]


@pytest_asyncio.fixture(loop_scope="module")
async def connect(house: House) -> AsyncIterator[Connect]:
    """Opens clients by their key; they retry as they do by default unless told otherwise."""
    opened: list[openai.AsyncOpenAI] = []

    def connecting(key: str, **options: Any) -> openai.AsyncOpenAI:
        client = openai.AsyncOpenAI(
            base_url=f"{house.base_url}/v1",
            api_key=key,
            http_client=openai.DefaultAsyncHttpxClient(verify=NO_TLS),
            **options,
        )
        opened.append(client)
        return client

    yield connecting
    for client in opened:
        await client.close()


@pytest_asyncio.fixture(loop_scope="module")
async def client(house: House, connect: Connect) -> openai.AsyncOpenAI:
    """One whose key may use two models."""
    return connect((await make_tenancy(house.services, models=["fakea:latest", "qwen3:8b"])).key)


@shows(feature="answer")
async def test_an_answer_comes_whole(house: House, client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model=MODEL, messages=MESSAGES)
    assert answer.choices[0].message.content
    assert answer.usage is not None
    assert answer.usage.completion_tokens == house.ollama.hits[-1].tokens_generated


@shows(feature="answer, streamed")
@pytest.mark.parametrize("asked", [True, False])
async def test_an_answer_comes_in_a_stream(house: House, client: openai.AsyncOpenAI, asked: bool) -> None:
    house.ollama.script = Script(tokens=20)
    options: dict[str, Any] = {"stream_options": {"include_usage": True}} if asked else {}
    stream = await client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True, **options)
    chunks = [chunk async for chunk in stream]
    assert len([chunk for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]) == 20
    assert [chunk.usage.completion_tokens for chunk in chunks if chunk.usage] == ([20] if asked else [])


@shows(feature="tool call")
async def test_a_tool_is_called(house: House, client: openai.AsyncOpenAI) -> None:
    house.ollama.script = CALLS
    answer = await client.chat.completions.create(model=MODEL, messages=MESSAGES, tools=TOOLS)
    assert answer.choices[0].finish_reason == "tool_calls"
    assert _calls(answer.choices[0].message.tool_calls) == [(CALL.id, CALL.name, CALL.arguments)]
    assert house.sent["tools"] == TOOLS


@shows(feature="tool call, streamed")
async def test_a_tool_is_called_in_a_stream(house: House, client: openai.AsyncOpenAI) -> None:
    house.ollama.script = CALLS
    async with client.chat.completions.stream(model=MODEL, messages=MESSAGES, tools=TOOLS) as stream:
        answer = await stream.get_final_completion()
    assert _calls(answer.choices[0].message.tool_calls) == [(CALL.id, CALL.name, CALL.arguments)]


@shows(feature="tool result, sent back")
async def test_what_a_tool_said_goes_back(house: House, client: openai.AsyncOpenAI) -> None:
    house.ollama.next(CALLS)
    asked = await client.chat.completions.create(model=MODEL, messages=MESSAGES, tools=TOOLS)
    result: Any = {"role": "tool", "tool_call_id": CALL.id, "content": "Sun."}
    call: Any = asked.choices[0].message
    answer = await client.chat.completions.create(model=MODEL, messages=[*MESSAGES, call, result])
    assert answer.choices[0].message.content
    sent: Any = house.sent["messages"]
    assert json.loads(sent[1]["tool_calls"][0]["function"]["arguments"]) == CALL.arguments
    assert sent[2] == result


@shows(feature="structured output")
async def test_an_answer_keeps_to_a_schema(house: House, client: openai.AsyncOpenAI) -> None:
    house.ollama.script = DESCRIBES
    answer = await client.chat.completions.parse(model=MODEL, messages=MESSAGES, response_format=City)
    assert answer.choices[0].message.parsed == COLOGNE
    sent: Any = house.sent["response_format"]
    assert sent["json_schema"]["schema"]["required"] == ["name", "people"]


@shows(feature="structured output")
async def test_an_answer_in_a_stream_keeps_to_a_schema(house: House, client: openai.AsyncOpenAI) -> None:
    house.ollama.script = DESCRIBES
    async with client.chat.completions.stream(model=MODEL, messages=MESSAGES, response_format=City) as stream:
        answer = await stream.get_final_completion()
    assert answer.choices[0].message.parsed == COLOGNE


@shows(feature="thinking")
async def test_thoughts_come_beside_the_answer(house: House, client: openai.AsyncOpenAI) -> None:
    house.ollama.script = THINKS
    answer = await client.chat.completions.create(model=MODEL, messages=MESSAGES, reasoning_effort="high")
    message: Any = answer.choices[0].message
    assert (message.reasoning, message.content) == (THINKING, ANSWER)
    assert house.sent["reasoning_effort"] == "high"


@shows(feature="thinking, streamed")
async def test_thoughts_come_before_the_answer_in_a_stream(house: House, client: openai.AsyncOpenAI) -> None:
    house.ollama.script = THINKS
    stream = await client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)
    deltas: list[Any] = [chunk.choices[0].delta async for chunk in stream if chunk.choices]
    assert "".join(getattr(delta, "reasoning", "") for delta in deltas) == THINKING
    assert "".join(delta.content for delta in deltas) == ANSWER


@shows(feature="image")
async def test_an_image_reaches_the_model(house: House, client: openai.AsyncOpenAI) -> None:
    parts: Any = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": PICTURE}}]
    await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": parts}])
    assert house.sent["messages"] == [{"role": "user", "content": parts}]


@shows(feature="completion")
async def test_a_prompt_is_completed(house: House, client: openai.AsyncOpenAI) -> None:
    answer = await client.completions.create(model=MODEL, prompt="Once upon")
    assert answer.choices[0].text
    assert answer.usage is not None
    assert answer.usage.completion_tokens == house.ollama.hits[-1].tokens_generated


@shows(feature="completion, streamed")
async def test_a_prompt_is_completed_in_a_stream(house: House, client: openai.AsyncOpenAI) -> None:
    house.ollama.script = Script(tokens=20)
    stream = await client.completions.create(model=MODEL, prompt="Once upon", stream=True)
    chunks = [chunk async for chunk in stream]
    assert len([chunk for chunk in chunks if chunk.choices and chunk.choices[0].text]) == 20
    assert not [chunk for chunk in chunks if chunk.usage]


@shows(feature="embeddings")
@pytest.mark.parametrize("options", [{}, {"encoding_format": "float"}])
async def test_texts_are_embedded(client: openai.AsyncOpenAI, options: Any) -> None:
    answer = await client.embeddings.create(model=MODEL, input=["one", "two"], **options)
    assert [len(item.embedding) for item in answer.data] == [8, 8]
    assert answer.usage.prompt_tokens


@shows(feature="list of models")
async def test_only_the_models_of_the_key_are_listed(client: openai.AsyncOpenAI) -> None:
    assert [model.id async for model in client.models.list()] == ["fakea:latest", "qwen3:8b"]


@shows(feature="page of a model")
async def test_a_model_is_shown(client: openai.AsyncOpenAI) -> None:
    assert (await client.models.retrieve("fakea:latest")).id == "fakea:latest"
    with pytest.raises(openai.PermissionDeniedError, match="fakeb:latest"):
        await client.models.retrieve("fakeb")


@shows(feature="bad key")
async def test_a_bad_key_is_told_so(house: House, connect: Connect, tell: Tell) -> None:
    with pytest.raises(openai.AuthenticationError, match=r"Invalid API key\. Send a valid key") as raised:
        await _ask(connect(BAD_KEY))
    tell(_told(raised.value, 401, "invalid_api_key"))
    assert len(house.arrivals) == 1


@shows(feature="forbidden model")
async def test_a_forbidden_model_is_named(house: House, client: openai.AsyncOpenAI, tell: Tell) -> None:
    with pytest.raises(openai.PermissionDeniedError, match="may not use the model 'fakeb:latest'") as raised:
        await _ask(client, "fakeb")
    tell(_told(raised.value, 403, "model_not_allowed"))
    assert not house.ollama.hits
    assert len(house.arrivals) == 1


@shows(feature="unknown model")
async def test_an_unknown_model_is_named(house: House, connect: Connect, tell: Tell) -> None:
    with pytest.raises(openai.NotFoundError, match="model 'nobody:latest'") as raised:
        await _ask(connect((await make_tenancy(house.services)).key), "nobody")
    tell(_told(raised.value, 404, "model_not_found"))
    assert len(house.arrivals) == 1


@shows(feature="closed endpoint")
async def test_a_closed_endpoint_is_told_so(house: House, client: openai.AsyncOpenAI, tell: Tell) -> None:
    with pytest.raises(openai.NotFoundError, match="There is no such endpoint here") as raised:
        await client.images.generate(model=MODEL, prompt="A house.")
    tell(_told(raised.value, 404, "unknown_endpoint"))
    assert len(house.arrivals) == 1
    assert not house.ollama.dangerous_hits


@shows(feature="spent budget")
async def test_a_spent_budget_is_raised_at_once(house: House, connect: Connect, tell: Tell) -> None:
    tenancy = await make_tenancy(house.services, budget={Period.DAILY: 100})
    with pytest.raises(openai.RateLimitError, match="100 of 100 tokens left") as raised:
        await _ask(connect(tenancy.key))
    tell(_told(raised.value, 429, "insufficient_quota"))
    assert len(house.arrivals) == 1
    assert not house.ollama.hits


@pytest.mark.promise("L6")
@shows(feature="rate limit")
async def test_a_rate_limit_is_waited_out(house: House, connect: Connect, tell: Tell) -> None:
    tenancy = await make_tenancy(house.services, key_limits=Limits(rpm=1))
    client = connect(tenancy.key)
    await _ask(client)
    await _ask(client)
    assert len(house.arrivals) == 3
    assert len(house.ollama.hits) == 2
    with pytest.raises(openai.RateLimitError, match=r"1 request a minute \(key\.rpm\)") as raised:
        await _ask(connect(tenancy.key, max_retries=0))
    assert raised.value.code == "rate_limit_exceeded"
    tell(f"waits, then answers; without retries `{type(raised.value).__name__}` 429")


@shows(feature="model server away")
async def test_a_model_server_that_is_away_is_told_so(house: House, connect: Connect, tell: Tell) -> None:
    client = connect((await make_tenancy(house.services)).key, max_retries=1)
    await house.ollama.stop()
    try:
        with pytest.raises(openai.InternalServerError, match="The model server cannot be reached") as raised:
            await _ask(client)
    finally:
        await house.ollama.start()
    tell(_told(raised.value, 503, "model_server_unavailable"))
    assert len(house.arrivals) == 2


@pytest.mark.promise("S3")
@shows(feature="death mid-stream")
async def test_a_stream_that_dies_does_not_end_as_if_whole(
    house: House, client: openai.AsyncOpenAI, tell: Tell
) -> None:
    house.ollama.script = DIES
    chunks = []
    with pytest.raises(openai.APIError, match="The model server broke off its answer") as raised:
        async for chunk in await client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True):
            chunks.append(chunk)  # noqa: PERF401 - what came before the error counts
    tell(f"`{type(raised.value).__name__}`")
    assert len(chunks) == 5
    assert len(house.arrivals) == 1


@pytest.mark.promise("S3")
@shows(feature="death mid-stream")
async def test_a_stream_of_a_completion_that_dies_raises(house: House, client: openai.AsyncOpenAI) -> None:
    house.ollama.script = DIES
    with pytest.raises(openai.APIError, match="The model server broke off its answer"):
        async for _ in await client.completions.create(model=MODEL, prompt="Once upon", stream=True):
            pass


async def _ask(client: openai.AsyncOpenAI, model: str = MODEL) -> None:
    answer = await client.chat.completions.create(model=model, messages=MESSAGES)
    assert answer.choices[0].message.content


def _calls(calls: Any) -> list[tuple[str, str, Any]]:
    return [(call.id, call.function.name, json.loads(call.function.arguments)) for call in calls]


def _told(error: openai.APIStatusError, status: int, code: str) -> str:
    assert (error.status_code, error.code) == (status, code)
    assert error.request_id
    return f"`{type(error).__name__}` {status}"
