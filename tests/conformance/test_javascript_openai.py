"""The openai library for JavaScript against the gateway."""

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
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
    PICTURE,
    SCHEMA,
    THINKING,
    THINKS,
    TOOL,
)
from tests.support.conformance_matrix import OPENAI_JS
from tests.support.factories import make_tenancy
from tests.support.fake_ollama import Script
from tests.support.javascript import JavaScriptError, Program, program

pytestmark = pytest.mark.asyncio(loop_scope="module")

shows: Callable[..., pytest.MarkDecorator] = partial(pytest.mark.conformance, surface="openai", sdk=OPENAI_JS)

ASK: dict[str, Any] = {"model": MODEL, "messages": MESSAGES}
RESPOND: dict[str, Any] = {"model": MODEL, "input": "Say hello."}
RESPONSE_TOOL: dict[str, Any] = {"type": "function", "name": "weather", "parameters": SCHEMA, "strict": False}
BRIEF = Script(tokens=4, words=(" so", " it", " is"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sdk(javascript_folder: Path, opened_house: House) -> AsyncIterator[Program]:
    async with program(javascript_folder / "openai.mjs", opened_house.base_url) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def key(house: House) -> str:
    """One that may use two models."""
    return (await make_tenancy(house.services, models=["fakea:latest", "qwen3:8b"])).key


@shows(feature="answer")
async def test_an_answer_comes_whole(house: House, sdk: Program, key: str) -> None:
    answer = await sdk.run("answer", key, **ASK)
    assert answer["choices"][0]["message"]["content"]
    assert answer["usage"]["completion_tokens"] == house.ollama.hits[-1].tokens_generated


@shows(feature="answer, streamed")
@pytest.mark.parametrize("asked", [True, False])
async def test_an_answer_comes_in_a_stream(house: House, sdk: Program, key: str, asked: bool) -> None:
    house.ollama.script = Script(tokens=20)
    options = {"stream_options": {"include_usage": True}} if asked else {}
    chunks = await sdk.run("stream", key, **ASK, **options)
    assert len([chunk for chunk in chunks if chunk["choices"] and chunk["choices"][0]["delta"]["content"]]) == 20
    assert [chunk["usage"]["completion_tokens"] for chunk in chunks if chunk.get("usage")] == ([20] if asked else [])


@shows(feature="tool call")
async def test_a_tool_is_called(house: House, sdk: Program, key: str) -> None:
    house.ollama.script = CALLS
    assert _calls(await sdk.run("answer", key, **ASK, tools=[TOOL])) == [(CALL.id, CALL.name, CALL.arguments)]
    assert house.sent["tools"] == [TOOL]


@shows(feature="tool call, streamed")
async def test_a_tool_is_called_in_a_stream(house: House, sdk: Program, key: str) -> None:
    house.ollama.script = CALLS
    assert _calls(await sdk.run("final", key, **ASK, tools=[TOOL])) == [(CALL.id, CALL.name, CALL.arguments)]


@shows(feature="tool result, sent back")
async def test_what_a_tool_said_goes_back(house: House, sdk: Program, key: str) -> None:
    house.ollama.next(CALLS)
    asked = await sdk.run("answer", key, **ASK, tools=[TOOL])
    result = {"role": "tool", "tool_call_id": CALL.id, "content": "Sun."}
    messages = [*MESSAGES, asked["choices"][0]["message"], result]
    answer = await sdk.run("answer", key, model=MODEL, messages=messages)
    assert answer["choices"][0]["message"]["content"]
    assert house.sent["messages"] == messages


@shows(feature="structured output")
async def test_an_answer_keeps_to_a_schema(house: House, sdk: Program, key: str) -> None:
    house.ollama.script = DESCRIBES
    assert await sdk.run("structured", key, **ASK) == COLOGNE.model_dump()
    sent: Any = house.sent["response_format"]
    assert sent["json_schema"]["schema"]["required"] == ["name", "people"]


@shows(feature="thinking")
async def test_thoughts_come_beside_the_answer(house: House, sdk: Program, key: str) -> None:
    house.ollama.script = THINKS
    message = (await sdk.run("thinking", key, **ASK))["choices"][0]["message"]
    assert (message["reasoning"], message["content"]) == (THINKING, ANSWER)
    assert house.sent["reasoning_effort"] == "high"


@shows(feature="thinking, streamed")
async def test_thoughts_come_before_the_answer_in_a_stream(house: House, sdk: Program, key: str) -> None:
    house.ollama.script = THINKS
    chunks = await sdk.run("stream", key, **ASK)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
    assert "".join(delta.get("reasoning", "") for delta in deltas) == THINKING
    assert "".join(delta["content"] for delta in deltas) == ANSWER


@shows(feature="image")
async def test_an_image_reaches_the_model(house: House, sdk: Program, key: str) -> None:
    parts = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": PICTURE}}]
    await sdk.run("answer", key, model=MODEL, messages=[{"role": "user", "content": parts}])
    assert house.sent["messages"] == [{"role": "user", "content": parts}]


@shows(feature="completion")
async def test_a_prompt_is_completed(house: House, sdk: Program, key: str) -> None:
    house.ollama.script = BRIEF
    answer = await sdk.run("completion", key, model=MODEL, prompt="Once upon")
    assert (answer["choices"][0]["text"], answer["usage"]["completion_tokens"]) == (ANSWER, 4)


@shows(feature="completion, streamed")
async def test_a_prompt_is_completed_in_a_stream(house: House, sdk: Program, key: str) -> None:
    house.ollama.script = BRIEF
    chunks = await sdk.run("completion_stream", key, model=MODEL, prompt="Once upon")
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == ANSWER
    assert not [chunk for chunk in chunks if chunk.get("usage")]


@shows(feature="response")
async def test_a_response_comes_whole(house: House, sdk: Program, key: str) -> None:
    house.ollama.script = BRIEF
    answer = await sdk.run("response", key, **RESPOND)
    assert (answer["status"], answer["output_text"], answer["usage"]["output_tokens"]) == ("completed", ANSWER, 4)


@shows(feature="response, streamed")
async def test_a_response_comes_in_a_stream(house: House, sdk: Program, key: str) -> None:
    house.ollama.script = BRIEF
    events = await sdk.run("response_stream", key, **RESPOND)
    assert "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta") == ANSWER
    assert events[-1]["type"] == "response.completed"


@shows(feature="response with a tool call")
@pytest.mark.parametrize("scenario", ["response", "response_final"])
async def test_a_response_calls_a_tool(house: House, sdk: Program, key: str, scenario: str) -> None:
    house.ollama.script = CALLS
    answer = await sdk.run(scenario, key, **RESPOND, tools=[RESPONSE_TOOL])
    [call] = [item for item in answer["output"] if item["type"] == "function_call"]
    assert (call["call_id"], call["name"], json.loads(call["arguments"])) == (CALL.id, CALL.name, CALL.arguments)


@shows(feature="response with structured output")
async def test_a_response_keeps_to_a_schema(house: House, sdk: Program, key: str) -> None:
    house.ollama.script = DESCRIBES
    assert await sdk.run("response_structured", key, **RESPOND) == COLOGNE.model_dump()


@shows(feature="response with thinking")
async def test_a_response_holds_its_thoughts(house: House, sdk: Program, key: str) -> None:
    house.ollama.script = THINKS
    whole = await sdk.run("response", key, **RESPOND)
    streamed = (await sdk.run("response_stream", key, **RESPOND))[-1]["response"]
    for answer in (whole, streamed):
        thoughts, text = answer["output"]
        assert (thoughts["summary"][0]["text"], text["content"][0]["text"]) == (THINKING, ANSWER)


@shows(feature="response with thinking")
async def test_the_helper_that_collects_a_response_stops_at_thoughts_with_or_without_the_gateway(
    house: House, sdk: Program, key: str, tell: Tell
) -> None:
    """Since openai 7 its `responses.stream()` takes thoughts only after `response.reasoning_summary_part.added`, which
    Ollama never sends (openai/responses.go, processThinking). The gateway passes on what it gets.
    """
    house.ollama.script = THINKS
    for each in (sdk, replace(sdk, base_url=house.ollama.base_url)):
        with pytest.raises(JavaScriptError, match="missing content at index 0"):
            await each.run("response_final", key, **RESPOND)
    tell("✓; its helper `responses.stream()` fails, with or without the gateway")


@shows(feature="embeddings")
async def test_texts_are_embedded(sdk: Program, key: str) -> None:
    answer = await sdk.run("embeddings", key, model=MODEL, input=["one", "two"])
    assert [len(item["embedding"]) for item in answer["data"]] == [8, 8]


@shows(feature="list of models")
async def test_only_the_models_of_the_key_are_listed(sdk: Program, key: str) -> None:
    assert [model["id"] for model in await sdk.run("list", key)] == ["fakea:latest", "qwen3:8b"]


@shows(feature="page of a model")
async def test_a_model_is_shown(sdk: Program, key: str) -> None:
    assert (await sdk.run("page", key, model="fakea:latest"))["id"] == "fakea:latest"


@shows(feature="bad key")
async def test_a_bad_key_is_told_so(house: House, sdk: Program, tell: Tell) -> None:
    with pytest.raises(JavaScriptError, match=r"Invalid API key\. Send a valid key") as raised:
        await sdk.run("answer", BAD_KEY, **ASK)
    tell(_told(raised.value, 401, "invalid_api_key"))
    assert len(house.arrivals) == 1


@shows(feature="forbidden model")
async def test_a_forbidden_model_is_named(house: House, sdk: Program, key: str, tell: Tell) -> None:
    with pytest.raises(JavaScriptError, match="may not use the model 'fakeb:latest'") as raised:
        await sdk.run("answer", key, **{**ASK, "model": "fakeb"})
    tell(_told(raised.value, 403, "model_not_allowed"))
    assert len(house.arrivals) == 1
    assert not house.ollama.hits


@shows(feature="unknown model")
async def test_an_unknown_model_is_named(house: House, sdk: Program, tell: Tell) -> None:
    with pytest.raises(JavaScriptError, match="model 'nobody:latest'") as raised:
        await sdk.run("answer", (await make_tenancy(house.services)).key, **{**ASK, "model": "nobody"})
    tell(_told(raised.value, 404, "model_not_found"))
    assert len(house.arrivals) == 1


@shows(feature="closed endpoint")
async def test_a_closed_endpoint_is_told_so(house: House, sdk: Program, key: str, tell: Tell) -> None:
    with pytest.raises(JavaScriptError, match="There is no such endpoint here") as raised:
        await sdk.run("closed", key, model=MODEL, prompt="A house.")
    tell(_told(raised.value, 404, "unknown_endpoint"))
    assert len(house.arrivals) == 1
    assert not house.ollama.dangerous_hits


@shows(feature="spent budget")
async def test_a_spent_budget_is_raised_at_once(house: House, sdk: Program, tell: Tell) -> None:
    tenancy = await make_tenancy(house.services, budget={Period.DAILY: 100})
    with pytest.raises(JavaScriptError, match="100 of 100 tokens left") as raised:
        await sdk.run("answer", tenancy.key, **ASK)
    tell(_told(raised.value, 429, "insufficient_quota"))
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
    tell(f"waits, then answers; without retries {_told(raised.value, 429, 'rate_limit_exceeded')}")


@shows(feature="model server away")
async def test_a_model_server_that_is_away_is_told_so(house: House, sdk: Program, key: str, tell: Tell) -> None:
    await house.ollama.stop()
    try:
        with pytest.raises(JavaScriptError, match="The model server cannot be reached") as raised:
            await sdk.run("answer", key, **ASK, options={"maxRetries": 1})
    finally:
        await house.ollama.start()
    tell(_told(raised.value, 503, "model_server_unavailable"))
    assert len(house.arrivals) == 2


@pytest.mark.promise("S3")
@shows(feature="death mid-stream")
@pytest.mark.parametrize(
    ("scenario", "ask"),
    [
        ("completion_stream", {"model": MODEL, "prompt": "Once upon"}),
        ("response_stream", RESPOND),
        ("stream", ASK),
    ],
)
async def test_a_stream_that_dies_does_not_end_as_if_whole(
    house: House, sdk: Program, key: str, tell: Tell, scenario: str, ask: dict[str, Any]
) -> None:
    house.ollama.script = DIES
    with pytest.raises(JavaScriptError, match="The model server broke off its answer") as raised:
        await sdk.run(scenario, key, **ask)
    tell(f"`{raised.value.name}`")
    assert len(house.arrivals) == 1


def _calls(answer: Any) -> list[tuple[str, str, Any]]:
    calls = answer["choices"][0]["message"]["tool_calls"]
    return [(call["id"], call["function"]["name"], json.loads(call["function"]["arguments"])) for call in calls]


def _told(error: JavaScriptError, status: int, code: str) -> str:
    assert (error.status, error.code) == (status, code)
    assert error.request_id
    return f"`{error.name}` {status}"
