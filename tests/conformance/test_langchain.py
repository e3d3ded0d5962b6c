"""langchain-ollama against the gateway."""

from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import ollama
import pytest
import pytest_asyncio
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_ollama import ChatOllama, OllamaEmbeddings, OllamaLLM

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
    MODEL,
    PICTURE,
    PNG,
    THINKING,
    THINKS,
    TOOL,
    City,
)
from tests.support.conformance_matrix import LANGCHAIN
from tests.support.factories import make_tenancy
from tests.support.fake_ollama import Script

pytestmark = pytest.mark.asyncio(loop_scope="module")

shows: Callable[..., pytest.MarkDecorator] = partial(pytest.mark.conformance, surface="ollama", sdk=LANGCHAIN)

HELLO = "Say hello."

type Anything = ChatOllama | OllamaLLM | OllamaEmbeddings
type Connect = Callable[..., Any]


@pytest_asyncio.fixture(loop_scope="module")
async def connect(house: House) -> AsyncIterator[Connect]:
    """Opens models by their class, the key, what else they take."""
    opened: list[Anything] = []

    def connecting(made: type[Anything], key: str, **options: Any) -> Anything:
        kwargs = {"headers": {"Authorization": f"Bearer {key}"}, "trust_env": False}
        model = made(**{"model": MODEL, "base_url": house.base_url, "client_kwargs": kwargs, **options})
        opened.append(model)
        return model

    yield connecting
    for model in opened:  # they have no public way to be closed
        assert model._client is not None
        assert model._async_client is not None
        model._client._client.close()
        await model._async_client._client.aclose()


@pytest_asyncio.fixture(loop_scope="module")
async def chat(house: House, connect: Connect) -> ChatOllama:
    """A chat model whose key may use one model."""
    model: ChatOllama = connect(ChatOllama, (await make_tenancy(house.services, models=["fakea:latest"])).key)
    return model


@shows(feature="answer")
async def test_an_answer_comes_whole(house: House, chat: ChatOllama) -> None:
    answer = await chat.ainvoke(HELLO)
    assert answer.text
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["output_tokens"] == house.ollama.hits[-1].tokens_generated


@shows(feature="answer, streamed")
async def test_an_answer_comes_in_a_stream(house: House, chat: ChatOllama) -> None:
    house.ollama.script = Script(tokens=20)
    parts = [part async for part in chat.astream(HELLO)]
    assert len([part for part in parts if part.text]) == 20
    assert [part.usage_metadata["output_tokens"] for part in parts if part.usage_metadata] == [20]


@shows(feature="tool call")
async def test_a_tool_is_called(house: House, chat: ChatOllama) -> None:
    house.ollama.script = CALLS
    answer = await chat.bind_tools([TOOL]).ainvoke(HELLO)
    assert _calls(answer) == [(CALL.name, CALL.arguments)]
    assert house.sent["tools"] == [TOOL]


@shows(feature="tool call, streamed")
async def test_a_tool_is_called_in_a_stream(house: House, chat: ChatOllama) -> None:
    house.ollama.script = CALLS
    parts = [part async for part in chat.bind_tools([TOOL]).astream(HELLO)]
    assert [call for part in parts for call in _calls(part)] == [(CALL.name, CALL.arguments)]


@shows(feature="tool result, sent back")
async def test_what_a_tool_said_goes_back(house: House, chat: ChatOllama) -> None:
    house.ollama.next(CALLS)
    asked = await chat.bind_tools([TOOL]).ainvoke(HELLO)
    result = ToolMessage("Sun.", tool_call_id=asked.tool_calls[0]["id"])
    assert (await chat.ainvoke([HumanMessage(HELLO), asked, result])).text
    _, call, told = _sent_messages(house)
    assert call["tool_calls"][0]["function"] == {"name": CALL.name, "arguments": CALL.arguments}
    assert told["content"] == "Sun."


@shows(feature="structured output")
async def test_an_answer_keeps_to_a_schema(house: House, chat: ChatOllama) -> None:
    house.ollama.script = DESCRIBES
    assert await chat.with_structured_output(City).ainvoke(HELLO) == COLOGNE
    assert house.sent["format"] == City.model_json_schema()


@shows(feature="thinking")
async def test_thoughts_come_beside_the_answer(house: House, connect: Connect) -> None:
    house.ollama.script = THINKS
    chat = connect(ChatOllama, (await make_tenancy(house.services)).key, reasoning=True)
    answer = await chat.ainvoke(HELLO)
    assert (answer.additional_kwargs["reasoning_content"], answer.text) == (THINKING, ANSWER)
    assert house.sent["think"] is True


@shows(feature="thinking, streamed")
async def test_thoughts_come_before_the_answer_in_a_stream(house: House, connect: Connect) -> None:
    house.ollama.script = THINKS
    chat = connect(ChatOllama, (await make_tenancy(house.services)).key, reasoning=True)
    parts = [part async for part in chat.astream(HELLO)]
    assert "".join(part.additional_kwargs.get("reasoning_content", "") for part in parts) == THINKING
    assert "".join(part.text for part in parts) == ANSWER


@shows(feature="image")
async def test_an_image_reaches_the_model(house: House, chat: ChatOllama) -> None:
    await chat.ainvoke(
        [HumanMessage([{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": PICTURE}])]
    )
    assert _sent_messages(house)[0]["images"] == [PNG]


@shows(feature="completion")
async def test_a_prompt_is_completed(house: House, connect: Connect) -> None:
    house.ollama.script = Script(tokens=4, words=(" so", " it", " is"))
    model = connect(OllamaLLM, (await make_tenancy(house.services)).key)
    assert await model.ainvoke("Once upon") == ANSWER


@shows(feature="completion, streamed")
async def test_a_prompt_is_completed_in_a_stream(house: House, connect: Connect) -> None:
    house.ollama.script = Script(tokens=4, words=(" so", " it", " is"))
    model = connect(OllamaLLM, (await make_tenancy(house.services)).key)
    assert "".join([part async for part in model.astream("Once upon")]) == ANSWER


@shows(feature="embeddings")
async def test_texts_are_embedded(house: House, connect: Connect) -> None:
    model = connect(OllamaEmbeddings, (await make_tenancy(house.services)).key)
    assert [len(vector) for vector in await model.aembed_documents(["one", "two"])] == [8, 8]


@shows(feature="bad key")
async def test_a_bad_key_is_told_so(house: House, connect: Connect, tell: Tell) -> None:
    with pytest.raises(ollama.ResponseError, match=r"^Invalid API key\.") as raised:
        await connect(ChatOllama, BAD_KEY).ainvoke(HELLO)
    tell(_told(raised.value, 401))
    assert len(house.arrivals) == 1


@shows(feature="forbidden model")
async def test_a_forbidden_model_is_named(house: House, connect: Connect, tell: Tell) -> None:
    key = (await make_tenancy(house.services, models=["fakea:latest"])).key
    with pytest.raises(ollama.ResponseError, match="may not use the model 'fakeb:latest'") as raised:
        await connect(ChatOllama, key, model="fakeb").ainvoke(HELLO)
    tell(_told(raised.value, 403))
    assert not house.ollama.hits


@shows(feature="unknown model")
async def test_an_unknown_model_is_named(house: House, connect: Connect, tell: Tell) -> None:
    key = (await make_tenancy(house.services)).key
    with pytest.raises(ollama.ResponseError, match="model 'nobody:latest'") as raised:
        await connect(ChatOllama, key, model="nobody").ainvoke(HELLO)
    tell(_told(raised.value, 404))


@shows(feature="spent budget")
async def test_a_spent_budget_says_what_is_left(house: House, connect: Connect, tell: Tell) -> None:
    key = (await make_tenancy(house.services, budget={Period.DAILY: 100})).key
    with pytest.raises(ollama.ResponseError, match="100 of 100 tokens left") as raised:
        await connect(ChatOllama, key).ainvoke(HELLO)
    tell(_told(raised.value, 429))
    assert house.arrivals == ["/api/chat"]


@pytest.mark.promise("L6")
@shows(feature="rate limit")
async def test_a_rate_limit_says_when_to_come_back(house: House, connect: Connect, tell: Tell) -> None:
    chat = connect(ChatOllama, (await make_tenancy(house.services, key_limits=Limits(rpm=1))).key)
    await chat.ainvoke(HELLO)
    with pytest.raises(ollama.ResponseError, match=r"\(key\.rpm\); 0 left\. Try again in \d s\.") as raised:
        await chat.ainvoke(HELLO)
    tell(_told(raised.value, 429))
    assert house.arrivals == ["/api/chat"] * 2


@shows(feature="model server away")
async def test_a_model_server_that_is_away_is_told_so(house: House, chat: ChatOllama, tell: Tell) -> None:
    await house.ollama.stop()
    try:
        with pytest.raises(ollama.ResponseError, match="The model server cannot be reached") as raised:
            await chat.ainvoke(HELLO)
    finally:
        await house.ollama.start()
    tell(_told(raised.value, 503))


@pytest.mark.promise("S3")
@shows(feature="death mid-stream")
async def test_a_stream_that_dies_does_not_end_as_if_whole(house: House, chat: ChatOllama, tell: Tell) -> None:
    house.ollama.script = DIES
    with pytest.raises(ollama.ResponseError, match="The model server broke off its answer") as raised:
        async for _ in chat.astream(HELLO):
            pass
    tell(f"`{type(raised.value).__name__}`")


def _calls(answer: BaseMessage) -> list[tuple[str, Any]]:
    assert isinstance(answer, AIMessage)
    return [(call["name"], call["args"]) for call in answer.tool_calls]


def _sent_messages(house: House) -> list[Any]:
    messages = house.sent["messages"]
    assert isinstance(messages, list)
    return messages


def _told(error: ollama.ResponseError, status: int) -> str:
    assert error.status_code == status
    return f"`{type(error).__name__}` {status}"
