"""Unmodified SDK programs through the gateway to a real model: answers, streams, refusals, exact charges."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import ollama as ollama_sdk
import openai
import pytest

from neuronetz_gateway.domain.budget import Period
from neuronetz_gateway.domain.limit import Limits
from neuronetz_gateway.embedded.demo_model import DemoModel
from tests.gateway.test_budgeting import settled
from tests.gateway.test_sdks import MESSAGES, Sdks
from tests.support.factories import make_tenancy
from tests.support.gateways import LiveGateway, live_gateway
from tests.support.stores import Stores

MODEL = "smollm2:135m"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoModel]:
    model = DemoModel(tmp_path_factory.mktemp("demo"))
    model.start()
    yield model
    model.stop()


@pytest.fixture
async def gateway(stores: Stores, demo: DemoModel) -> AsyncIterator[LiveGateway]:
    async with live_gateway(stores, demo.url) as live:
        yield live


@pytest.fixture
async def sdks(gateway: LiveGateway) -> AsyncIterator[Sdks]:
    async with AsyncExitStack() as closing:
        yield Sdks(gateway, closing)


async def test_ollama_and_openai_are_answered_and_charged_what_the_model_reports(
    gateway: LiveGateway, sdks: Sdks, stores: Stores
) -> None:
    tenancy = await make_tenancy(gateway.services)
    native, client = sdks.ollama(tenancy.key), sdks.openai(tenancy.key)
    used = 0

    whole = await native.chat(MODEL, MESSAGES, options={"num_predict": 8})
    assert whole.message.content
    used += (whole.prompt_eval_count or 0) + (whole.eval_count or 0)

    parts = [part async for part in await native.chat(MODEL, MESSAGES, stream=True, options={"num_predict": 8})]
    assert parts[-1].done
    assert len([part for part in parts if part.message.content]) > 1
    used += (parts[-1].prompt_eval_count or 0) + (parts[-1].eval_count or 0)

    answer = await client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=8)
    assert answer.choices[0].message.content
    assert answer.usage is not None
    used += answer.usage.total_tokens

    stream = await client.chat.completions.create(
        model=MODEL, messages=MESSAGES, max_tokens=8, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert chunks[-1].usage is not None
    used += chunks[-1].usage.total_tokens

    assert await settled(stores, tenancy) == used


async def test_models_and_embeddings(gateway: LiveGateway, sdks: Sdks) -> None:
    tenancy = await make_tenancy(gateway.services)
    assert [model.model for model in (await sdks.ollama(tenancy.key).list()).models] == [MODEL]
    assert [model.id async for model in sdks.openai(tenancy.key).models.list()] == [MODEL]
    assert len((await sdks.ollama(tenancy.key).embed(MODEL, ["one", "two"])).embeddings) == 2
    assert len((await sdks.openai(tenancy.key).embeddings.create(model=MODEL, input="one")).data) == 1


async def test_refusals_before_a_real_model(gateway: LiveGateway, sdks: Sdks) -> None:
    with pytest.raises(openai.AuthenticationError):
        await sdks.openai("nz_" + "x" * 41).chat.completions.create(model=MODEL, messages=MESSAGES)
    forbidden = await make_tenancy(gateway.services, models=["other:latest"])
    with pytest.raises(ollama_sdk.ResponseError, match="may not use the model"):
        await sdks.ollama(forbidden.key).chat(MODEL, MESSAGES)
    poor = await make_tenancy(gateway.services, budget={Period.TOTAL: 10})
    with pytest.raises(openai.RateLimitError, match="10 of 10 tokens left"):
        await sdks.openai(poor.key).chat.completions.create(model=MODEL, messages=MESSAGES)
    slow = await make_tenancy(gateway.services, key_limits=Limits(rpm=1))
    await sdks.ollama(slow.key).chat(MODEL, MESSAGES, options={"num_predict": 2})
    with pytest.raises(ollama_sdk.ResponseError, match="Rate limit reached"):
        await sdks.ollama(slow.key).chat(MODEL, MESSAGES)
