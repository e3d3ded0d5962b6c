"""Anthropic's library for JavaScript against the gateway."""

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
    DIES,
    MESSAGES,
    MODEL,
    PNG,
    SCHEMA,
    THINKING,
    THINKS,
)
from tests.support.conformance_matrix import ANTHROPIC_JS
from tests.support.factories import make_tenancy
from tests.support.fake_ollama import Script
from tests.support.javascript import JavaScriptError, Program, program

pytestmark = pytest.mark.asyncio(loop_scope="module")

shows: Callable[..., pytest.MarkDecorator] = partial(pytest.mark.conformance, surface="anthropic", sdk=ANTHROPIC_JS)

ASK: dict[str, Any] = {"model": MODEL, "messages": MESSAGES}
TOOLS: list[Any] = [{"name": "weather", "description": "How the weather will be.", "input_schema": SCHEMA}]
THINK: Any = {"type": "enabled", "budget_tokens": 1024}
BRIEF = Script(tokens=4, words=(" so", " it", " is"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sdk(javascript_folder: Path, opened_house: House) -> AsyncIterator[Program]:
    async with program(javascript_folder / "anthropic.mjs", opened_house.base_url) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def key(house: House) -> str:
    """One that may use one model."""
    return (await make_tenancy(house.services, models=["fakea:latest"])).key


@shows(feature="answer")
async def test_an_answer_comes_whole(house: House, sdk: Program, key: str) -> None:
    house.ollama.script = BRIEF
    answer = await sdk.run("answer", key, **ASK)
    assert answer["content"] == [{"type": "text", "text": ANSWER}]
    assert (answer["stop_reason"], answer["usage"]["output_tokens"]) == ("end_turn", 4)


@shows(feature="answer, streamed")
async def test_an_answer_comes_in_a_stream(house: House, sdk: Program, key: str) -> None:
    house.ollama.script = BRIEF
    events = await sdk.run("stream", key, **ASK)
    texts = [event["delta"]["text"] for event in events if event["type"] == "content_block_delta"]
    assert (texts, events[-1]["type"]) == ([" so", " it", " is", " so"], "message_stop")
    answer = await sdk.run("final", key, **ASK)
    assert (answer["stop_reason"], answer["usage"]["output_tokens"]) == ("end_turn", 4)


@shows(feature="tool call")
async def test_a_tool_is_called(house: House, sdk: Program, key: str) -> None:
    house.ollama.script = CALLS
    answer = await sdk.run("answer", key, **ASK, tools=TOOLS)
    assert (answer["stop_reason"], _calls(answer)) == ("tool_use", [(CALL.id, CALL.name, CALL.arguments)])
    assert house.sent["tools"] == TOOLS


@shows(feature="tool call, streamed")
async def test_a_tool_is_called_in_a_stream(house: House, sdk: Program, key: str) -> None:
    house.ollama.script = CALLS
    assert _calls(await sdk.run("final", key, **ASK, tools=TOOLS)) == [(CALL.id, CALL.name, CALL.arguments)]


@shows(feature="tool result, sent back")
async def test_what_a_tool_said_goes_back(house: House, sdk: Program, key: str) -> None:
    house.ollama.next(CALLS)
    asked = await sdk.run("answer", key, **ASK, tools=TOOLS)
    result = {"type": "tool_result", "tool_use_id": CALL.id, "content": "Sun."}
    messages = [
        *MESSAGES,
        {"role": "assistant", "content": asked["content"]},
        {"role": "user", "content": [result]},
    ]
    answer = await sdk.run("answer", key, model=MODEL, messages=messages, tools=TOOLS)
    assert answer["stop_reason"] == "end_turn"
    assert house.sent["messages"] == messages


@shows(feature="thinking")
async def test_thoughts_come_beside_the_answer(house: House, sdk: Program, key: str) -> None:
    house.ollama.script = THINKS
    answer = await sdk.run("answer", key, **ASK, thinking=THINK)
    assert answer["content"] == [{"type": "thinking", "thinking": THINKING}, {"type": "text", "text": ANSWER}]
    assert house.sent["thinking"] == THINK


@shows(feature="thinking, streamed")
async def test_thoughts_come_before_the_answer_in_a_stream(house: House, sdk: Program, key: str) -> None:
    house.ollama.script = THINKS
    answer = await sdk.run("final", key, **ASK, thinking=THINK)
    assert [block.get("thinking") or block["text"] for block in answer["content"]] == [THINKING, ANSWER]


@shows(feature="image")
async def test_an_image_reaches_the_model(house: House, sdk: Program, key: str) -> None:
    parts = [
        {"type": "text", "text": "What is it?"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
    ]
    await sdk.run("answer", key, model=MODEL, messages=[{"role": "user", "content": parts}])
    assert house.sent["messages"] == [{"role": "user", "content": parts}]


@shows(feature="system prompt")
async def test_a_system_prompt_reaches_the_model(house: House, sdk: Program, key: str) -> None:
    await sdk.run("answer", key, **ASK, system="Be brief.")
    assert house.sent["system"] == "Be brief."


@shows(feature="bad key")
async def test_a_bad_key_is_told_so(house: House, sdk: Program, tell: Tell) -> None:
    with pytest.raises(JavaScriptError, match=r"Invalid API key\. Send a valid key") as raised:
        await sdk.run("answer", BAD_KEY, **ASK)
    tell(_told(raised.value, 401))
    assert len(house.arrivals) == 1


@shows(feature="forbidden model")
async def test_a_forbidden_model_is_named(house: House, sdk: Program, key: str, tell: Tell) -> None:
    with pytest.raises(JavaScriptError, match="may not use the model 'fakeb:latest'") as raised:
        await sdk.run("answer", key, **{**ASK, "model": "fakeb"})
    tell(_told(raised.value, 403))
    assert len(house.arrivals) == 1
    assert not house.ollama.hits


@shows(feature="unknown model")
async def test_an_unknown_model_is_named(house: House, sdk: Program, tell: Tell) -> None:
    with pytest.raises(JavaScriptError, match="model 'nobody:latest'") as raised:
        await sdk.run("answer", (await make_tenancy(house.services)).key, **{**ASK, "model": "nobody"})
    tell(_told(raised.value, 404))
    assert len(house.arrivals) == 1


@shows(feature="closed endpoint")
async def test_a_closed_endpoint_is_told_so(house: House, sdk: Program, key: str, tell: Tell) -> None:
    with pytest.raises(JavaScriptError, match="There is no such endpoint here") as raised:
        await sdk.run("closed", key, **ASK)
    tell(_told(raised.value, 404))
    assert len(house.arrivals) == 1


@shows(feature="spent budget")
async def test_a_spent_budget_is_raised_at_once(house: House, sdk: Program, tell: Tell) -> None:
    tenancy = await make_tenancy(house.services, budget={Period.DAILY: 100})
    with pytest.raises(JavaScriptError, match="100 of 100 tokens left") as raised:
        await sdk.run("answer", tenancy.key, **ASK)
    tell(_told(raised.value, 429))
    assert len(house.arrivals) == 1
    assert not house.ollama.hits


@pytest.mark.promise("L6")
@shows(feature="rate limit")
async def test_a_rate_limit_is_waited_out(house: House, sdk: Program, tell: Tell) -> None:
    tenancy = await make_tenancy(house.services, key_limits=Limits(rpm=1))
    await sdk.run("answer", tenancy.key, **ASK)
    await sdk.run("answer", tenancy.key, **ASK)
    assert len(house.arrivals) == 3
    assert len(house.ollama.hits) == 2
    with pytest.raises(JavaScriptError, match=r"1 request a minute \(key\.rpm\)") as raised:
        await sdk.run("answer", tenancy.key, **ASK, options={"maxRetries": 0})
    tell(f"waits, then answers; without retries {_told(raised.value, 429)}")


@shows(feature="model server away")
async def test_a_model_server_that_is_away_is_told_so(house: House, sdk: Program, key: str, tell: Tell) -> None:
    await house.ollama.stop()
    try:
        with pytest.raises(JavaScriptError, match="The model server cannot be reached") as raised:
            await sdk.run("answer", key, **ASK, options={"maxRetries": 1})
    finally:
        await house.ollama.start()
    tell(_told(raised.value, 503))
    assert len(house.arrivals) == 2


@pytest.mark.promise("S3")
@shows(feature="death mid-stream")
@pytest.mark.parametrize("scenario", ["final", "stream"])
async def test_a_stream_that_dies_does_not_end_as_if_whole(
    house: House, sdk: Program, key: str, tell: Tell, scenario: str
) -> None:
    house.ollama.script = DIES
    with pytest.raises(JavaScriptError, match="The model server broke off its answer") as raised:
        await sdk.run(scenario, key, **ASK)
    tell(f"`{raised.value.name}`")
    assert len(house.arrivals) == 1


def _calls(answer: Any) -> list[tuple[str, str, Any]]:
    return [(block["id"], block["name"], block["input"]) for block in answer["content"] if block["type"] == "tool_use"]


def _told(error: JavaScriptError, status: int) -> str:
    assert error.status == status
    assert error.request_id
    return f"`{error.name}` {status}"
