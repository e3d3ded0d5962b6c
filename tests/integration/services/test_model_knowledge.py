"""What is known of the models follows the model server, which alone decides when it changes."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from neuronetz_gateway.domain.model_facts import ModelFacts
from neuronetz_gateway.services import model_knowledge
from neuronetz_gateway.services.model_knowledge import MODELS_AT_MOST, ModelKnowledge
from neuronetz_gateway.upstream.client import Upstream
from neuronetz_gateway.upstream.transport import OllamaTransport
from tests.support.fake_ollama import FakeOllama, Fault, Script
from tests.support.log_capture import captured_logs

DEFAULT = 1000


@pytest.fixture
def events() -> list[str]:
    return []


@pytest.fixture
async def upstream(ollama: FakeOllama) -> AsyncIterator[Upstream]:
    upstream = Upstream(OllamaTransport(), ollama.base_url, probe_timeout_seconds=0.3)
    yield upstream
    await upstream.aclose()


@pytest.fixture
async def knowledge(upstream: Upstream, events: list[str]) -> AsyncIterator[ModelKnowledge]:
    knowledge = made(upstream, events)
    yield knowledge
    await knowledge.aclose()


def made(upstream: Upstream, events: list[str], refresh_seconds: float = 0.02) -> ModelKnowledge:
    return ModelKnowledge(upstream, refresh_seconds=refresh_seconds, template_tokens=DEFAULT, happened=events.append)


def shows(ollama: FakeOllama) -> list[str]:
    return [seen.json["model"] for seen in ollama.requests if seen.route == "/api/show" and seen.body_complete]


async def test_every_installed_model_is_asked_for_once(
    knowledge: ModelKnowledge, ollama: FakeOllama, events: list[str]
) -> None:
    ollama.models = ("fakea:latest", "Ns/FakeB:1b")
    ollama.shows("Ns/FakeB:1b", system="x" * 20_000, messages=[], parameters="num_ctx 2048")
    assert knowledge.facts_of("fakea:latest") is None
    assert await knowledge.refresh()
    assert await knowledge.refresh()
    assert knowledge.facts_of("ns/fakeb:1b") == ModelFacts(20_000 + DEFAULT, 2048)
    known = knowledge.facts_of("fakea:latest")
    assert known is not None
    assert known.context_tokens == 4096
    assert sorted(shows(ollama)) == ["Ns/FakeB:1b", "fakea:latest"]
    assert all(seen.json == {"model": seen.model} for seen in ollama.requests if seen.route == "/api/show")
    assert events == []


async def test_a_changed_model_is_asked_for_again_a_removed_one_forgotten(
    knowledge: ModelKnowledge, ollama: FakeOllama
) -> None:
    ollama.models = ("fakea:latest", "fakeb:latest")
    await knowledge.refresh()
    ollama.shows("fakea:latest", system="", messages=[], template="x" * 5000)
    ollama.models = ("fakea:latest",)
    await knowledge.refresh()
    assert knowledge.facts_of("fakea:latest") == ModelFacts(5000, 4096)
    assert knowledge.facts_of("fakeb:latest") is None
    assert shows(ollama).count("fakea:latest") == 2


async def test_of_names_that_differ_by_their_case_the_greater_figures_hold(
    knowledge: ModelKnowledge, ollama: FakeOllama
) -> None:
    """The fake, like Ollama, takes one for the other: what matters is that neither is lost."""
    ollama.models = ("fakea:latest", "FakeA:latest")
    ollama.shows("FakeA:latest", system="x" * 9000, messages=[])
    await knowledge.refresh()
    assert knowledge.facts_of("fakea:latest") == ModelFacts(9000 + DEFAULT, 4096)


async def test_names_that_no_caller_could_use_are_not_asked_for(knowledge: ModelKnowledge, ollama: FakeOllama) -> None:
    ollama.models = ("x:cloud", "fakea:latest")
    await knowledge.refresh()
    assert shows(ollama) == ["fakea:latest"]


async def test_no_more_models_are_asked_for_than_the_bound(ollama: FakeOllama, events: list[str]) -> None:
    ollama.models = tuple(f"m{number}:latest" for number in range(MODELS_AT_MOST + 5))
    # a list of a thousand takes the fake longer than the others may wait, on a busy machine
    upstream = Upstream(OllamaTransport(), ollama.base_url, probe_timeout_seconds=10)
    assert await made(upstream, events).refresh()
    await upstream.aclose()
    assert len(shows(ollama)) == MODELS_AT_MOST


async def test_at_most_two_are_asked_for_at_a_time(
    knowledge: ModelKnowledge, ollama: FakeOllama, upstream: Upstream
) -> None:
    del upstream
    gate = asyncio.Event()
    ollama.models = tuple(f"m{number}:latest" for number in range(6))
    asking = asyncio.create_task(knowledge.refresh())
    await ollama.wait_for(lambda: any(seen.route == "/api/tags" for seen in ollama.requests))
    ollama.metadata_script = Script(gate=gate)
    await ollama.wait_for(lambda: sum(seen.route == "/api/show" for seen in ollama.requests) >= 2)
    await asyncio.sleep(0.05)  # that a third does not come cannot be awaited
    assert sum(seen.ended is None for seen in ollama.requests) <= 2
    gate.set()
    assert await asking
    assert len(shows(ollama)) == 6


async def test_it_goes_on_by_itself_and_finds_a_server_that_comes_late(
    knowledge: ModelKnowledge, ollama: FakeOllama, events: list[str]
) -> None:
    await ollama.stop()
    await knowledge.start()
    async with asyncio.timeout(5):
        while not events:
            await asyncio.sleep(0.01)
    assert knowledge.facts_of("fakea:latest") is None
    await ollama.start()
    await ollama.wait_for(lambda: len(shows(ollama)) == len(ollama.models))
    async with asyncio.timeout(5):
        while knowledge.facts_of("fakea:latest") is None:
            await asyncio.sleep(0.01)
    assert set(events) == {"model_facts_failed"}


@pytest.mark.parametrize(
    "script",
    [
        Script(status=500),
        Script(fault=Fault.RESET),
        Script(fault=Fault.HANG),
        Script(fault=Fault.GARBAGE),
        Script(fault=Fault.SILENT_END),
        Script(fault=Fault.CLOSE_MID_CHUNK),
    ],
    ids=lambda script: f"{script.status} {script.fault}",
)
async def test_a_server_that_fails_leaves_what_is_known(
    knowledge: ModelKnowledge, ollama: FakeOllama, events: list[str], script: Script
) -> None:
    await knowledge.refresh()
    known = knowledge.facts_of("fakea:latest")
    ollama.metadata_script = script
    assert not await knowledge.refresh()
    assert events == ["model_facts_failed"]
    assert knowledge.facts_of("fakea:latest") == known
    ollama.metadata_script = Script()
    assert await knowledge.refresh()
    assert events == ["model_facts_failed"]


async def test_only_a_change_is_logged(knowledge: ModelKnowledge, ollama: FakeOllama, events: list[str]) -> None:
    with captured_logs(model_knowledge) as lines:
        for status in (500, 500, 200, 200, 503, 200):
            ollama.metadata_script = Script(status=status)
            await knowledge.refresh()
    assert [line["event"] for line in lines] == ["model_facts_failed", "model_facts_known"] * 2
    assert lines[0]["error"] == "HTTPStatusError"
    assert len(events) == 3


async def test_a_model_of_which_nothing_can_be_read_does_not_hide_the_others(
    knowledge: ModelKnowledge, ollama: FakeOllama, events: list[str]
) -> None:
    deep: object = "x"
    for _ in range(300):
        deep = [deep]
    ollama.models = ("fakea:latest", "fakeb:latest")
    ollama.shows("fakea:latest", messages=[deep])
    assert await knowledge.refresh()
    assert knowledge.facts_of("fakea:latest") is None
    assert knowledge.facts_of("fakeb:latest") is not None
    assert events == ["model_facts_failed"]


async def test_it_can_be_closed_while_it_waits_for_an_answer(knowledge: ModelKnowledge, ollama: FakeOllama) -> None:
    ollama.metadata_script = Script(fault=Fault.HANG)
    await knowledge.start()
    await ollama.wait_for(lambda: bool(ollama.requests))
    await knowledge.aclose()
    await knowledge.aclose()
    await ollama.wait_idle()


async def test_a_refresh_of_0_asks_for_nothing(upstream: Upstream, ollama: FakeOllama, events: list[str]) -> None:
    knowledge = made(upstream, events, refresh_seconds=0)
    await knowledge.start()
    await asyncio.sleep(0.05)  # that nothing comes cannot be awaited
    await knowledge.aclose()
    assert not ollama.requests


async def test_a_name_that_stands_for_a_model_elsewhere_is_known_without_being_asked_for(
    knowledge: ModelKnowledge, ollama: FakeOllama
) -> None:
    ollama.models = ("fakea:latest", "stub:latest")
    ollama.shows("stub:latest", remote_host="https://ollama.com:443", remote_model="gpt-oss:120b")
    assert await knowledge.refresh()
    known = knowledge.facts_of("stub:latest")
    assert known is not None
    assert known.remote
    assert shows(ollama) == ["fakea:latest"]
    ollama.shows("stub:latest", system="mine")
    assert await knowledge.refresh()
    assert knowledge.facts_of("stub:latest") != known
