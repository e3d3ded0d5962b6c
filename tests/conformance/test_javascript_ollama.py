"""The ollama library for JavaScript against the gateway."""

from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

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
from tests.support.conformance_matrix import OLLAMA_JS
from tests.support.factories import make_tenancy
from tests.support.fake_ollama import Script
from tests.support.javascript import JavaScriptError, Program, program

pytestmark = pytest.mark.asyncio(loop_scope="module")

shows: Callable[..., pytest.MarkDecorator] = partial(pytest.mark.conformance, surface="ollama", sdk=OLLAMA_JS)

ASK: dict[str, Any] = {"model": MODEL, "messages": MESSAGES}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sdk(javascript_folder: Path, opened_house: House) -> AsyncIterator[Program]:
    async with program(javascript_folder / "ollama.mjs", opened_house.base_url) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def key(house: House) -> str:
    """One that may use two models."""
    return (await make_tenancy(house.services, models=["fakea:latest", "qwen3:8b"])).key


@shows(feature="answer")
async def test_an_answer_comes_whole(house: House, sdk: Program, key: str) -> None:
    answer = await sdk.run("answer", key, **ASK)
    assert answer["message"]["content"]
    assert answer["eval_count"] == house.ollama.hits[-1].tokens_generated


@shows(feature="answer, streamed")
async def test_an_answer_comes_in_a_stream(house: House, sdk: Program, key: str) -> None:
    house.ollama.script = Script(tokens=20)
    parts = await sdk.run("stream", key, **ASK)
    assert len(parts) == 21
    assert (parts[-1]["done"], parts[-1]["eval_count"]) == (True, 20)


@shows(feature="tool call")
async def test_a_tool_is_called(house: House, sdk: Program, key: str) -> None:
    house.ollama.script = CALLS
    answer = await sdk.run("answer", key, **ASK, tools=[TOOL])
    assert _calls(answer) == [(CALL.name, CALL.arguments)]
    assert house.sent["tools"] == [TOOL]


@shows(feature="tool call, streamed")
async def test_a_tool_is_called_in_a_stream(house: House, sdk: Program, key: str) -> None:
    house.ollama.script = CALLS
    parts = await sdk.run("stream", key, **ASK, tools=[TOOL])
    assert [call for part in parts for call in _calls(part)] == [(CALL.name, CALL.arguments)]


@shows(feature="tool result, sent back")
async def test_what_a_tool_said_goes_back(house: House, sdk: Program, key: str) -> None:
    house.ollama.next(CALLS)
    asked = await sdk.run("answer", key, **ASK, tools=[TOOL])
    result = {"role": "tool", "content": "Sun.", "tool_name": CALL.name}
    answer = await sdk.run("answer", key, model=MODEL, messages=[*MESSAGES, asked["message"], result])
    assert answer["message"]["content"]
    assert house.sent["messages"] == [*MESSAGES, asked["message"], result]


@shows(feature="structured output")
async def test_an_answer_keeps_to_a_schema(house: House, sdk: Program, key: str) -> None:
    house.ollama.script = DESCRIBES
    answer = await sdk.run("structured", key, **ASK, schema=City.model_json_schema())
    assert City.model_validate_json(answer["message"]["content"]) == COLOGNE
    assert house.sent["format"] == City.model_json_schema()


@shows(feature="thinking")
async def test_thoughts_come_beside_the_answer(house: House, sdk: Program, key: str) -> None:
    house.ollama.script = THINKS
    answer = await sdk.run("thinking", key, **ASK)
    assert (answer["message"]["thinking"], answer["message"]["content"]) == (THINKING, ANSWER)
    assert house.sent["think"] is True


@shows(feature="thinking, streamed")
async def test_thoughts_come_before_the_answer_in_a_stream(house: House, sdk: Program, key: str) -> None:
    house.ollama.script = THINKS
    parts = await sdk.run("thinking_stream", key, **ASK)
    assert "".join(part["message"].get("thinking", "") for part in parts) == THINKING
    assert "".join(part["message"]["content"] for part in parts) == ANSWER


@shows(feature="image")
async def test_an_image_reaches_the_model(house: House, sdk: Program, key: str) -> None:
    messages = [{"role": "user", "content": "What is it?", "images": [PNG]}]
    await sdk.run("answer", key, model=MODEL, messages=messages)
    assert house.sent["messages"] == messages
    await sdk.run("completion", key, model=MODEL, prompt="What is it?", images=[PNG])
    assert house.sent["images"] == [PNG]


@shows(feature="completion")
async def test_a_prompt_is_completed(house: House, sdk: Program, key: str) -> None:
    house.ollama.script = THINKS
    answer = await sdk.run("completion", key, model=MODEL, prompt="Once upon")
    assert (answer["thinking"], answer["response"]) == (THINKING, ANSWER)


@shows(feature="completion, streamed")
async def test_a_prompt_is_completed_in_a_stream(house: House, sdk: Program, key: str) -> None:
    house.ollama.script = THINKS
    parts = await sdk.run("completion_stream", key, model=MODEL, prompt="Once upon")
    assert "".join(part["response"] for part in parts) == ANSWER


@shows(feature="embeddings")
async def test_texts_are_embedded(sdk: Program, key: str) -> None:
    answer = await sdk.run("embeddings", key, model=MODEL, input=["one", "two"])
    assert [len(vector) for vector in answer["embeddings"]] == [8, 8]


@shows(feature="embeddings, the old way")
async def test_a_text_is_embedded_the_old_way(sdk: Program, key: str) -> None:
    assert len((await sdk.run("old_embeddings", key, model=MODEL, prompt="one"))["embedding"]) == 8


@shows(feature="list of models")
async def test_only_the_models_of_the_key_are_listed(sdk: Program, key: str) -> None:
    answer = await sdk.run("list", key)
    assert [model["model"] for model in answer["models"]] == ["fakea:latest", "qwen3:8b"]


@shows(feature="page of a model")
async def test_a_model_is_shown(sdk: Program, key: str) -> None:
    assert (await sdk.run("page", key, model=MODEL))["capabilities"] == ["completion", "tools"]


@shows(feature="loaded models")
async def test_only_the_loaded_models_of_the_key_are_listed(sdk: Program, key: str) -> None:
    assert [model["model"] for model in (await sdk.run("loaded", key))["models"]] == ["fakea:latest"]


@shows(feature="bad key")
async def test_a_bad_key_is_told_so(house: House, sdk: Program, tell: Tell) -> None:
    with pytest.raises(JavaScriptError, match=r"^Invalid API key\. Send a valid key") as raised:
        await sdk.run("answer", BAD_KEY, **ASK)
    tell(_told(raised.value, 401))
    assert len(house.arrivals) == 1


@shows(feature="forbidden model")
async def test_a_forbidden_model_is_named(house: House, sdk: Program, key: str, tell: Tell) -> None:
    with pytest.raises(JavaScriptError, match="may not use the model 'fakeb:latest'") as raised:
        await sdk.run("answer", key, **{**ASK, "model": "fakeb"})
    tell(_told(raised.value, 403))
    assert not house.ollama.hits


@shows(feature="unknown model")
async def test_an_unknown_model_is_named(house: House, sdk: Program, tell: Tell) -> None:
    with pytest.raises(JavaScriptError, match="model 'nobody:latest'") as raised:
        await sdk.run("answer", (await make_tenancy(house.services)).key, **{**ASK, "model": "nobody"})
    tell(_told(raised.value, 404))


@shows(feature="closed endpoint")
async def test_a_model_cannot_be_pulled(house: House, sdk: Program, key: str, tell: Tell) -> None:
    with pytest.raises(JavaScriptError, match="blocked by the gateway") as raised:
        await sdk.run("closed", key, model="fakec")
    tell(_told(raised.value, 403))
    assert not house.ollama.dangerous_hits


@shows(feature="spent budget")
async def test_a_spent_budget_says_what_is_left(house: House, sdk: Program, tell: Tell) -> None:
    tenancy = await make_tenancy(house.services, budget={Period.DAILY: 100})
    with pytest.raises(JavaScriptError, match="100 of 100 tokens left") as raised:
        await sdk.run("answer", tenancy.key, **ASK)
    tell(_told(raised.value, 429))
    assert len(house.arrivals) == 1


@pytest.mark.promise("L6")
@shows(feature="rate limit")
async def test_a_rate_limit_says_when_to_come_back(house: House, sdk: Program, tell: Tell) -> None:
    tenancy = await make_tenancy(house.services, key_limits=Limits(rpm=1))
    await sdk.run("answer", tenancy.key, **ASK)
    with pytest.raises(JavaScriptError, match=r"\(key\.rpm\); 0 left\. Try again in \d s\.") as raised:
        await sdk.run("answer", tenancy.key, **ASK)
    tell(_told(raised.value, 429))
    assert len(house.arrivals) == 2


@shows(feature="model server away")
async def test_a_model_server_that_is_away_is_told_so(house: House, sdk: Program, key: str, tell: Tell) -> None:
    await house.ollama.stop()
    try:
        with pytest.raises(JavaScriptError, match="The model server cannot be reached") as raised:
            await sdk.run("answer", key, **ASK)
    finally:
        await house.ollama.start()
    tell(_told(raised.value, 503))


@pytest.mark.promise("S3")
@shows(feature="death mid-stream")
async def test_a_stream_that_dies_does_not_end_as_if_whole(house: House, sdk: Program, key: str, tell: Tell) -> None:
    house.ollama.script = DIES
    with pytest.raises(JavaScriptError, match="The model server broke off its answer") as raised:
        await sdk.run("stream", key, **ASK)
    tell(f"`{raised.value.name}`")


def _calls(answer: Any) -> list[tuple[str, Any]]:
    return [
        (call["function"]["name"], call["function"]["arguments"]) for call in answer["message"].get("tool_calls", ())
    ]


def _told(error: JavaScriptError, status: int) -> str:
    assert error.status == status
    return f"`{error.name}` {status}"
