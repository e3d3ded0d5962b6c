"""Whatever ends a stream within a record, the gateway's error stands in a record of its own, for every SDK to raise."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anthropic
import httpx
import ollama as ollama_sdk
import openai
import orjson
import pytest
import redis.asyncio

from neuronetz_gateway.domain.limit import Limits
from neuronetz_gateway.surfaces.surface import Endpoint
from tests.gateway.test_broken_answers import booked
from tests.support.factories import make_tenancy
from tests.support.fake_ollama import FakeOllama, Script
from tests.support.gateways import LiveGateway, live_gateway
from tests.support.half_answers import Stop, half_answers
from tests.support.no_tls import NO_TLS
from tests.support.raw_http import request_bytes, send_to_the_end
from tests.support.stores import Stores
from tests.support.valid_bodies import STREAMING, asking, name_of

MESSAGES: list[Any] = [{"role": "user", "content": "Hello"}]


def records_of(endpoint: Endpoint, body: bytes) -> list[Any]:
    """The objects that a stream carries; raises ValueError where one of them is broken, or the last has no end."""
    end = endpoint.surface.record_end
    *records, rest = body.split(end)
    if rest:
        raise ValueError(rest)
    data = (line.removeprefix(b"data: ") for record in records for line in record.split(b"\n"))
    return [orjson.loads(line) for line in data if not line.startswith(b"event: ")]


def told(record: Any) -> str:
    """The message of an error event, in any protocol."""
    error = record["error"]
    return str(error if isinstance(error, str) else error["message"])


@asynccontextmanager
async def gateway_before(stop: Stop, stores: Stores, **settings: Any) -> AsyncIterator[LiveGateway]:
    async with half_answers(stop) as upstream, live_gateway(stores, upstream, **settings) as gateway:
        yield gateway


@pytest.mark.promise("S3")
@pytest.mark.parametrize("stop", [Stop.FIN, Stop.RESET, Stop.CLEAN])
async def test_an_upstream_that_stops_within_a_record(stores: Stores, stop: Stop) -> None:
    """The half was handed on, ended as if it were a record: an SDK raised over its JSON, not over the event after."""
    async with gateway_before(stop, stores) as gateway:
        for endpoint in STREAMING:
            tenancy = await make_tenancy(gateway.services)
            body = orjson.dumps(asking(endpoint, 50, stream=True))
            answer = await send_to_the_end(
                gateway.base_url, request_bytes("POST", endpoint.path, key=tenancy.key, body=body)
            )
            assert (answer.status, answer.whole) == (200, False), name_of(endpoint)
            *before, last = records_of(endpoint, answer.body)
            assert "word2" in str(before[-1]), name_of(endpoint)
            assert "model server" in told(last), name_of(endpoint)
            outcome, _, charged = await booked(stores, tenancy)
            assert outcome == "upstream_broken", name_of(endpoint)
            assert charged > 3, name_of(endpoint)


@pytest.mark.promise("S3")
@pytest.mark.parametrize("endpoint", STREAMING, ids=name_of)
async def test_the_total_time_is_over_within_a_record(stores: Stores, endpoint: Endpoint) -> None:
    """An end from outside knew nothing of the records: its event was glued to the half that had been handed on."""
    limits = {"upstream_first_byte_timeout_s": 0.3, "upstream_total_timeout_s": 0.3}
    async with gateway_before(Stop.HANG, stores, **limits) as gateway:
        tenancy = await make_tenancy(gateway.services)
        body = orjson.dumps(asking(endpoint, 50, stream=True))
        answer = await send_to_the_end(
            gateway.base_url, request_bytes("POST", endpoint.path, key=tenancy.key, body=body)
        )
        assert (answer.status, answer.whole) == (200, False)
        *before, last = records_of(endpoint, answer.body)
        assert "word2" in str(before[-1])
        assert told(last) == "The request took too long."
        assert (await booked(stores, tenancy))[0] == "upstream_timed_out"


@pytest.mark.promise("S3")
async def test_the_place_under_the_limits_is_lost_within_a_record(stores: Stores) -> None:
    async with (
        gateway_before(Stop.HANG, stores, heartbeat_s=0.1) as gateway,
        redis.asyncio.from_url(stores.redis_url) as counters,
    ):
        for endpoint in STREAMING:
            tenancy = await make_tenancy(gateway.services, key_limits=Limits(concurrent=5))
            received = b""
            async with gateway.http(tenancy.key) as http:
                with pytest.raises(httpx.RemoteProtocolError):
                    async with http.stream("POST", endpoint.path, json=asking(endpoint, 50, stream=True)) as answer:
                        async for chunk in answer.aiter_raw():
                            received += chunk
                            for leases in await counters.keys("*:leases*"):
                                await counters.delete(leases)
            assert "place under the limits was lost" in told(records_of(endpoint, received)[-1]), name_of(endpoint)
            assert (await booked(stores, tenancy))[0] == "cut", name_of(endpoint)


class Sdks:
    """The SDKs as their users make them, but for the retries; each method streams to the end."""

    def __init__(self, gateway: LiveGateway, key: str, closing: AsyncExitStack) -> None:
        bearer = {"Authorization": f"Bearer {key}"}
        self.native = ollama_sdk.AsyncClient(gateway.base_url, headers=bearer, verify=NO_TLS, trust_env=False)
        closing.push_async_callback(self.native._client.aclose)
        self.openai = openai.AsyncOpenAI(
            base_url=f"{gateway.base_url}/v1",
            api_key=key,
            max_retries=0,
            http_client=openai.DefaultAsyncHttpxClient(verify=NO_TLS),
        )
        closing.push_async_callback(self.openai.close)
        self.anthropic = anthropic.AsyncAnthropic(
            base_url=gateway.base_url,
            api_key=key,
            max_retries=0,
            http_client=anthropic.DefaultAsyncHttpxClient(verify=NO_TLS),
        )
        closing.push_async_callback(self.anthropic.close)

    async def stream(self, path: str) -> AsyncIterator[Any]:
        match path:
            case "/api/chat":
                stream: Any = await self.native.chat("fakea", MESSAGES, stream=True)
            case "/api/generate":
                stream = await self.native.generate("fakea", "Hello", stream=True)
            case "/v1/chat/completions":
                stream = await self.openai.chat.completions.create(model="fakea", messages=MESSAGES, stream=True)
            case "/v1/completions":
                stream = await self.openai.completions.create(model="fakea", prompt="Hello", stream=True)
            case "/v1/responses":
                stream = await self.openai.responses.create(model="fakea", input="Hello", stream=True)
            case "/v1/messages":
                stream = await self.anthropic.messages.create(
                    model="fakea", messages=MESSAGES, max_tokens=50, stream=True
                )
            case _:
                raise NotImplementedError(f"no SDK is asked to stream {path}")
        async for part in stream:
            yield part


RAISED: dict[str, type[Exception]] = {
    "ollama": ollama_sdk.ResponseError,
    "openai": openai.APIError,
    "anthropic": anthropic.APIStatusError,
}


@pytest.mark.promise("S3")
@pytest.mark.parametrize("endpoint", STREAMING, ids=name_of)
async def test_an_sdk_raises_with_the_message(stores: Stores, endpoint: Endpoint) -> None:
    async with gateway_before(Stop.RESET, stores) as gateway, AsyncExitStack() as closing:
        sdks = Sdks(gateway, (await make_tenancy(gateway.services)).key, closing)
        parts: list[Any] = []
        with pytest.raises(RAISED[endpoint.surface.name], match="The model server broke off its answer"):
            async for part in sdks.stream(endpoint.path):
                parts.append(part)  # noqa: PERF401 - what came before the error is wanted
        assert "word2" in str(parts[-1])


@pytest.mark.promise("S3", "S4")
async def test_nobody_waits_for_a_caller_who_does_not_read_the_error(stores: Stores, ollama: FakeOllama) -> None:
    """Behind what such a caller has not taken the event cannot be written: the wait for it held the place for 60 s."""
    ollama.script = Script(tokens=100_000, words=("x" * 4000,))
    limits: dict[str, Any] = {"upstream_first_byte_timeout_s": 1, "upstream_total_timeout_s": 1}
    async with live_gateway(stores, ollama.base_url, max_output_tokens=100_000, **limits) as gateway:
        tenancy = await make_tenancy(gateway.services)
        body = orjson.dumps(asking(STREAMING[0], None, stream=True))
        with socket.socket() as caller:
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            caller.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(caller, ("127.0.0.1", int(gateway.base_url.rpartition(":")[2])))
            await loop.sock_sendall(caller, request_bytes("POST", STREAMING[0].path, key=tenancy.key, body=body))
            await ollama.wait_for(lambda: len(ollama.hits) == 1)
            async with asyncio.timeout(1.0 + 1.0 + 3.0):  # the total time, the wait for the caller, slack
                while gateway.services.limiter.open_admissions:
                    await asyncio.sleep(0.02)
            assert (await booked(stores, tenancy))[0] == "upstream_timed_out"
