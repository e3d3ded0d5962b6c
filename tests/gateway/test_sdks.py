"""Unmodified SDK programs against the gateway, streamed or not, served or refused."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import ollama as ollama_sdk
import openai
import pytest

from neuronetz_gateway.domain.budget import Period
from neuronetz_gateway.domain.limit import Limits
from tests.support.factories import make_tenancy
from tests.support.fake_ollama import FakeOllama, Script
from tests.support.gateways import LiveGateway
from tests.support.no_tls import NO_TLS

MESSAGES: list[Any] = [{"role": "user", "content": "Say hello."}]


class Sdks:
    """Opens SDK clients, closes them with the test."""

    def __init__(self, gateway: LiveGateway, closing: AsyncExitStack) -> None:
        self._gateway, self._closing = gateway, closing

    def ollama(self, key: str) -> ollama_sdk.AsyncClient:
        client = ollama_sdk.AsyncClient(
            self._gateway.base_url, headers={"Authorization": f"Bearer {key}"}, verify=NO_TLS, trust_env=False
        )
        self._closing.push_async_callback(client._client.aclose)  # it has no public way to be closed
        return client

    def openai(self, key: str) -> openai.AsyncOpenAI:
        client = openai.AsyncOpenAI(
            base_url=f"{self._gateway.base_url}/v1",
            api_key=key,
            max_retries=0,
            http_client=openai.DefaultAsyncHttpxClient(verify=NO_TLS),
        )
        self._closing.push_async_callback(client.close)
        return client


@pytest.fixture
async def sdks(gateway: LiveGateway) -> AsyncIterator[Sdks]:
    async with AsyncExitStack() as closing:
        yield Sdks(gateway, closing)


async def test_ollama_chats_whole(gateway: LiveGateway, sdks: Sdks, ollama: FakeOllama) -> None:
    tenancy = await make_tenancy(gateway.services)
    answer = await sdks.ollama(tenancy.key).chat("fakea", MESSAGES)
    assert answer.done
    assert answer.message.content
    assert [seen.model for seen in ollama.hits] == ["fakea:latest"]


async def test_ollama_chats_streamed(gateway: LiveGateway, sdks: Sdks, ollama: FakeOllama) -> None:
    ollama.script = Script(tokens=20)
    tenancy = await make_tenancy(gateway.services)
    parts = [part async for part in await sdks.ollama(tenancy.key).chat("fakea", MESSAGES, stream=True)]
    assert len(parts) == 21
    assert parts[-1].done
    assert parts[-1].eval_count == 20


async def test_ollama_generates_embeds_lists(gateway: LiveGateway, sdks: Sdks) -> None:
    tenancy = await make_tenancy(gateway.services, models=["fakea:latest"])
    client = sdks.ollama(tenancy.key)
    assert (await client.generate("fakea", "Once upon")).response
    assert len((await client.embed("fakea", ["one", "two"])).embeddings) == 2
    assert [model.model for model in (await client.list()).models] == ["fakea:latest"]


async def test_openai_chats_whole(gateway: LiveGateway, sdks: Sdks) -> None:
    tenancy = await make_tenancy(gateway.services)
    answer = await sdks.openai(tenancy.key).chat.completions.create(model="fakea", messages=MESSAGES)
    assert answer.choices[0].message.content
    assert answer.usage is not None


@pytest.mark.parametrize("asked", [True, False])
async def test_openai_chats_streamed_with_usage_only_where_asked(gateway: LiveGateway, sdks: Sdks, asked: bool) -> None:
    tenancy = await make_tenancy(gateway.services)
    options: dict[str, Any] = {"stream_options": {"include_usage": True}} if asked else {}
    stream = await sdks.openai(tenancy.key).chat.completions.create(
        model="fakea", messages=MESSAGES, stream=True, **options
    )
    chunks = [chunk async for chunk in stream]
    assert [chunk for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert bool([chunk for chunk in chunks if chunk.usage]) is asked
    assert bool([chunk for chunk in chunks if not chunk.choices]) is asked


async def test_openai_embeds_lists(gateway: LiveGateway, sdks: Sdks) -> None:
    tenancy = await make_tenancy(gateway.services, models=["fakea:latest"])
    client = sdks.openai(tenancy.key)
    assert len((await client.embeddings.create(model="fakea", input=["one", "two"])).data) == 2
    assert [model.id async for model in client.models.list()] == ["fakea:latest"]


async def test_a_bad_key_is_told_so(sdks: Sdks, ollama: FakeOllama) -> None:
    bad = "nz_" + "x" * 41
    with pytest.raises(ollama_sdk.ResponseError, match="Invalid API key") as native:
        await sdks.ollama(bad).chat("fakea", MESSAGES)
    assert native.value.status_code == 401
    with pytest.raises(openai.AuthenticationError, match="Invalid API key") as openai_error:
        await sdks.openai(bad).chat.completions.create(model="fakea", messages=MESSAGES)
    assert openai_error.value.code == "invalid_api_key"
    assert not ollama.hits


async def test_a_base_url_without_its_v1_is_told_what_was_meant(gateway: LiveGateway, sdks: Sdks) -> None:
    """The commonest slip of all; openai-python showed the status alone of the answer, which had Ollama's shape."""
    slipped = sdks.openai("nz_unread").with_options(base_url=gateway.base_url)
    with pytest.raises(openai.NotFoundError, match="Did you mean '/v1/chat/completions'") as told:
        await slipped.chat.completions.create(model="fakea", messages=MESSAGES)
    assert told.value.code == "unknown_endpoint"


async def test_a_forbidden_model_is_named(gateway: LiveGateway, sdks: Sdks, ollama: FakeOllama) -> None:
    tenancy = await make_tenancy(gateway.services, models=["fakea:latest"])
    with pytest.raises(ollama_sdk.ResponseError, match="fakeb:latest") as native:
        await sdks.ollama(tenancy.key).chat("fakeb", MESSAGES)
    assert native.value.status_code == 403
    with pytest.raises(openai.PermissionDeniedError, match="fakeb:latest"):
        await sdks.openai(tenancy.key).chat.completions.create(model="fakeb", messages=MESSAGES)
    assert not ollama.hits


async def test_a_spent_budget_says_what_is_left(gateway: LiveGateway, sdks: Sdks, ollama: FakeOllama) -> None:
    tenancy = await make_tenancy(gateway.services, budget={Period.DAILY: 100})
    with pytest.raises(ollama_sdk.ResponseError, match="100 of 100 tokens left") as native:
        await sdks.ollama(tenancy.key).chat("fakea", MESSAGES)
    assert native.value.status_code == 429
    with pytest.raises(openai.RateLimitError) as refused:
        await sdks.openai(tenancy.key).chat.completions.create(model="fakea", messages=MESSAGES)
    assert refused.value.code == "insufficient_quota"
    assert refused.value.response.headers["x-should-retry"] == "false"
    assert not ollama.hits


async def test_a_hit_rate_limit_says_when_to_come_back(gateway: LiveGateway, sdks: Sdks, ollama: FakeOllama) -> None:
    tenancy = await make_tenancy(gateway.services, key_limits=Limits(rpm=1))
    await sdks.ollama(tenancy.key).chat("fakea", MESSAGES)
    with pytest.raises(ollama_sdk.ResponseError, match=r"1 request a minute \(key\.rpm\)") as native:
        await sdks.ollama(tenancy.key).chat("fakea", MESSAGES)
    assert native.value.status_code == 429
    with pytest.raises(openai.RateLimitError) as refused:
        await sdks.openai(tenancy.key).chat.completions.create(model="fakea", messages=MESSAGES)
    assert refused.value.code == "rate_limit_exceeded"
    assert 1 <= int(refused.value.response.headers["retry-after"]) <= 61
    assert len(ollama.hits) == 1
