"""The anthropic library for Python against the gateway."""

from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import anthropic
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
    DIES,
    MESSAGES,
    MODEL,
    PNG,
    SCHEMA,
    THINKING,
    THINKS,
)
from tests.support.conformance_matrix import ANTHROPIC_PY
from tests.support.factories import make_tenancy
from tests.support.fake_ollama import Script
from tests.support.no_tls import NO_TLS

pytestmark = pytest.mark.asyncio(loop_scope="module")

shows: Callable[..., pytest.MarkDecorator] = partial(pytest.mark.conformance, surface="anthropic", sdk=ANTHROPIC_PY)

ASK: dict[str, Any] = {"model": MODEL, "max_tokens": 100, "messages": MESSAGES}
TOOLS: list[Any] = [{"name": "weather", "description": "How the weather will be.", "input_schema": SCHEMA}]
THINK: Any = {"type": "enabled", "budget_tokens": 1024}

type Connect = Callable[..., anthropic.AsyncAnthropic]


@pytest_asyncio.fixture(loop_scope="module")
async def connect(house: House) -> AsyncIterator[Connect]:
    """Opens clients by their key; they retry as they do by default unless told otherwise."""
    opened: list[anthropic.AsyncAnthropic] = []

    def connecting(key: str, **options: Any) -> anthropic.AsyncAnthropic:
        client = anthropic.AsyncAnthropic(
            base_url=house.base_url,
            api_key=key,
            http_client=anthropic.DefaultAsyncHttpxClient(verify=NO_TLS),
            **options,
        )
        opened.append(client)
        return client

    yield connecting
    for client in opened:
        await client.close()


@pytest_asyncio.fixture(loop_scope="module")
async def client(house: House, connect: Connect) -> anthropic.AsyncAnthropic:
    """One whose key may use one model."""
    return connect((await make_tenancy(house.services, models=["fakea:latest"])).key)


@shows(feature="answer")
async def test_an_answer_comes_whole(house: House, client: anthropic.AsyncAnthropic) -> None:
    house.ollama.script = Script(tokens=4, words=(" so", " it", " is"))
    answer = await client.messages.create(**ASK)
    assert [block.text for block in answer.content if block.type == "text"] == [ANSWER]
    assert (answer.stop_reason, answer.usage.output_tokens) == ("end_turn", 4)


@shows(feature="answer, streamed")
async def test_an_answer_comes_in_a_stream(house: House, client: anthropic.AsyncAnthropic) -> None:
    house.ollama.script = Script(tokens=4, words=(" so", " it", " is"))
    async with client.messages.stream(**ASK) as stream:
        texts = [text async for text in stream.text_stream]
        answer = await stream.get_final_message()
    assert texts == [" so", " it", " is", " so"]
    assert (answer.stop_reason, answer.usage.output_tokens) == ("end_turn", 4)


@shows(feature="tool call")
async def test_a_tool_is_called(house: House, client: anthropic.AsyncAnthropic) -> None:
    house.ollama.script = CALLS
    answer = await client.messages.create(**ASK, tools=TOOLS)
    assert answer.stop_reason == "tool_use"
    assert _calls(answer) == [(CALL.id, CALL.name, CALL.arguments)]
    assert house.sent["tools"] == TOOLS


@shows(feature="tool call, streamed")
async def test_a_tool_is_called_in_a_stream(house: House, client: anthropic.AsyncAnthropic) -> None:
    house.ollama.script = CALLS
    async with client.messages.stream(**ASK, tools=TOOLS) as stream:
        answer = await stream.get_final_message()
    assert _calls(answer) == [(CALL.id, CALL.name, CALL.arguments)]


@shows(feature="tool result, sent back")
async def test_what_a_tool_said_goes_back(house: House, client: anthropic.AsyncAnthropic) -> None:
    house.ollama.next(CALLS)
    asked = await client.messages.create(**ASK, tools=TOOLS)
    result = {"type": "tool_result", "tool_use_id": CALL.id, "content": "Sun."}
    talk: list[Any] = [
        *MESSAGES,
        {"role": "assistant", "content": asked.content},
        {"role": "user", "content": [result]},
    ]
    answer = await client.messages.create(**{**ASK, "messages": talk}, tools=TOOLS)
    assert answer.stop_reason == "end_turn"
    sent: Any = house.sent["messages"]
    assert sent[1]["content"][-1]["input"] == CALL.arguments
    assert sent[2]["content"] == [result]


@shows(feature="thinking")
async def test_thoughts_come_beside_the_answer(house: House, client: anthropic.AsyncAnthropic) -> None:
    house.ollama.script = THINKS
    answer = await client.messages.create(**ASK, thinking=THINK)
    assert [block.thinking for block in answer.content if block.type == "thinking"] == [THINKING]
    assert [block.text for block in answer.content if block.type == "text"] == [ANSWER]
    assert house.sent["thinking"] == THINK


@shows(feature="thinking, streamed")
async def test_thoughts_come_before_the_answer_in_a_stream(house: House, client: anthropic.AsyncAnthropic) -> None:
    house.ollama.script = THINKS
    async with client.messages.stream(**ASK, thinking=THINK) as stream:
        kinds = [event.type async for event in stream if event.type in {"thinking", "text"}]
        answer = await stream.get_final_message()
    assert kinds == ["thinking"] * 3 + ["text"] * 4
    assert [block.thinking for block in answer.content if block.type == "thinking"] == [THINKING]


@shows(feature="image")
async def test_an_image_reaches_the_model(house: House, client: anthropic.AsyncAnthropic) -> None:
    parts = [
        {"type": "text", "text": "What is it?"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
    ]
    await client.messages.create(**{**ASK, "messages": [{"role": "user", "content": parts}]})
    assert house.sent["messages"] == [{"role": "user", "content": parts}]


@shows(feature="system prompt")
@pytest.mark.parametrize("system", ["Be brief.", [{"type": "text", "text": "Be brief."}]])
async def test_a_system_prompt_reaches_the_model(house: House, client: anthropic.AsyncAnthropic, system: Any) -> None:
    await client.messages.create(**ASK, system=system)
    assert house.sent["system"] == system


@shows(feature="bad key")
async def test_a_bad_key_is_told_so(house: House, connect: Connect, tell: Tell) -> None:
    with pytest.raises(anthropic.AuthenticationError, match=r"Invalid API key\. Send a valid key") as raised:
        await connect(BAD_KEY).messages.create(**ASK)
    tell(_told(raised.value, 401))
    assert len(house.arrivals) == 1


@shows(feature="forbidden model")
async def test_a_forbidden_model_is_named(house: House, client: anthropic.AsyncAnthropic, tell: Tell) -> None:
    with pytest.raises(anthropic.PermissionDeniedError, match="may not use the model 'fakeb:latest'") as raised:
        await client.messages.create(**{**ASK, "model": "fakeb"})
    tell(_told(raised.value, 403))
    assert not house.ollama.hits
    assert len(house.arrivals) == 1


@shows(feature="unknown model")
async def test_an_unknown_model_is_named(house: House, connect: Connect, tell: Tell) -> None:
    with pytest.raises(anthropic.NotFoundError, match="model 'nobody:latest'") as raised:
        await connect((await make_tenancy(house.services)).key).messages.create(**{**ASK, "model": "nobody"})
    tell(_told(raised.value, 404))
    assert len(house.arrivals) == 1


@shows(feature="closed endpoint")
async def test_a_closed_endpoint_is_told_so(house: House, client: anthropic.AsyncAnthropic, tell: Tell) -> None:
    with pytest.raises(anthropic.NotFoundError, match="There is no such endpoint here") as raised:
        await client.messages.count_tokens(model=MODEL, messages=MESSAGES)
    tell(_told(raised.value, 404))
    assert len(house.arrivals) == 1


@shows(feature="spent budget")
async def test_a_spent_budget_is_raised_at_once(house: House, connect: Connect, tell: Tell) -> None:
    tenancy = await make_tenancy(house.services, budget={Period.DAILY: 100})
    with pytest.raises(anthropic.RateLimitError, match="100 of 100 tokens left") as raised:
        await connect(tenancy.key).messages.create(**ASK)
    tell(_told(raised.value, 429))
    assert len(house.arrivals) == 1
    assert not house.ollama.hits


@pytest.mark.promise("L6")
@shows(feature="rate limit")
async def test_a_rate_limit_is_waited_out(house: House, connect: Connect, tell: Tell) -> None:
    tenancy = await make_tenancy(house.services, key_limits=Limits(rpm=1))
    client = connect(tenancy.key)
    await client.messages.create(**ASK)
    await client.messages.create(**ASK)
    assert len(house.arrivals) == 3
    assert len(house.ollama.hits) == 2
    with pytest.raises(anthropic.RateLimitError, match=r"1 request a minute \(key\.rpm\)") as raised:
        await connect(tenancy.key, max_retries=0).messages.create(**ASK)
    tell(f"waits, then answers; without retries {_told(raised.value, 429)}")


@shows(feature="model server away")
async def test_a_model_server_that_is_away_is_told_so(house: House, connect: Connect, tell: Tell) -> None:
    client = connect((await make_tenancy(house.services)).key, max_retries=1)
    await house.ollama.stop()
    try:
        with pytest.raises(anthropic.InternalServerError, match="The model server cannot be reached") as raised:
            await client.messages.create(**ASK)
    finally:
        await house.ollama.start()
    tell(_told(raised.value, 503))
    assert len(house.arrivals) == 2


@pytest.mark.promise("S3")
@shows(feature="death mid-stream")
async def test_a_stream_that_dies_does_not_end_as_if_whole(
    house: House, client: anthropic.AsyncAnthropic, tell: Tell
) -> None:
    house.ollama.script = DIES
    texts = []
    with pytest.raises(anthropic.APIStatusError, match="The model server broke off its answer") as raised:
        async with client.messages.stream(**ASK) as stream:
            async for text in stream.text_stream:
                texts.append(text)  # noqa: PERF401 - what came before the error counts
    tell(f"`{type(raised.value).__name__}`")
    assert len(texts) == 3
    assert len(house.arrivals) == 1


def _calls(answer: anthropic.types.Message) -> list[tuple[str, str, Any]]:
    return [(block.id, block.name, block.input) for block in answer.content if block.type == "tool_use"]


def _told(error: anthropic.APIStatusError, status: int) -> str:
    assert error.status_code == status
    assert error.request_id
    return f"`{type(error).__name__}` {status}"
