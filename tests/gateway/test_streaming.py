"""Records pass at once, unchanged; a broken stream never ends like a whole one."""

import asyncio
import hashlib
import itertools
import random
from typing import Any, Self

import httpx
import pytest

from neuronetz_gateway.surfaces.surface import Endpoint
from tests.support.answers import Answers
from tests.support.factories import make_tenancy
from tests.support.fake_ollama import FakeOllama, Fault, Script
from tests.support.gateways import LiveGateway
from tests.support.load import CHAT
from tests.support.valid_bodies import INFERRING, STREAMING, asking, name_of

# What a model may write to be mistaken for what the gateway takes out.
HOSTILE_WORDS = (
    '"usage":{"prompt_tokens":0}', ',"usage":{"prompt_tokens":1}', "data: [DONE]\n\n", '"choices":[]', "\n\n", '\\"',
    "\u00fc\u65e5", 'data: {"choices":[],"usage":{"prompt_tokens":1}}\n\n', '"done":true', " ", "x" * 300,
)  # fmt: skip


WITHIN_SECONDS = 0.020 * 3  # the promise with the slack of a test
HIDDEN_USAGE = {"/v1/chat/completions", "/v1/completions"}  # where the gateway asks for it (OLLAMA §3.2)


def streamed(endpoint: Endpoint, *, usage: bool, tokens: int = 1_000) -> dict[str, Any]:
    """A body that the gateway need not change, but for the usage that it asks for where the caller does not."""
    body = asking(endpoint, tokens, stream=True, model="fakea:latest")
    return {**body, "stream_options": {"include_usage": True}} if usage and endpoint.path in HIDDEN_USAGE else body


class Clocked(tuple[str, ...]):  # noqa: SLOT001 - a tuple cannot declare what it has beside its items
    """Words for the fake that note when each is asked for, which is when the record before it has been written."""

    def __new__(cls, count: int) -> Self:
        return super().__new__(cls, (f" w{number:04}" for number in range(count)))

    def __init__(self, _: int) -> None:
        self.asked_at: list[float] = []

    def __getitem__(self, place: Any) -> Any:
        self.asked_at.append(asyncio.get_running_loop().time())
        return super().__getitem__(place)


@pytest.mark.promise("S5")
@pytest.mark.parametrize("endpoint", STREAMING, ids=name_of)
async def test_the_payload_is_identical_by_hash(gateway: LiveGateway, ollama: FakeOllama, endpoint: Endpoint) -> None:
    tenancy = await make_tenancy(gateway.services)
    async with gateway.http(tenancy.key) as http:
        for turn in range(50):
            ollama.next(Script(tokens=turn))
            answer = await http.post(endpoint.path, json=streamed(endpoint, usage=True))
            assert answer.status_code == 200, answer.text
            assert hashlib.sha256(answer.content).hexdigest() == ollama.hits[-1].sent_digest


@pytest.mark.full
@pytest.mark.promise("S5")
@pytest.mark.timeout(600)
async def test_a_thousand_payloads_are_identical_by_hash(gateway: LiveGateway, ollama: FakeOllama) -> None:
    tenancy, dice = await make_tenancy(gateway.services), random.Random(20261123)
    async with gateway.http(tenancy.key) as http:
        for _ in range(1_000):
            endpoint = dice.choice(STREAMING)
            words = tuple(" ".join(dice.choices(HOSTILE_WORDS, k=dice.randrange(1, 4))) for _ in range(5))
            ollama.next(Script(tokens=dice.randrange(60), words=words, huge_record_bytes=dice.choice((0, 0, 70_000))))
            answer = await http.post(endpoint.path, json=streamed(endpoint, usage=True))
            assert hashlib.sha256(answer.content).hexdigest() == ollama.hits[-1].sent_digest, (endpoint.path, words)


@pytest.mark.promise("S5")
async def test_every_answer_is_what_the_model_server_itself_would_have_given(
    gateway: LiveGateway, ollama: FakeOllama
) -> None:
    """Only the usage that the gateway asked for is taken out; nothing else is changed, streamed or not."""
    tenancy = await make_tenancy(gateway.services)
    async with gateway.http(tenancy.key) as http, httpx.AsyncClient(base_url=ollama.base_url) as direct:
        for endpoint, words in itertools.product(INFERRING, ((), HOSTILE_WORDS)):
            for body in (streamed(endpoint, usage=False), {**streamed(endpoint, usage=False), "stream": False}):
                ollama.script = Script(tokens=len(words) or 7, words=words)
                through = await http.post(endpoint.path, json=body)
                assert through.status_code == 200, (name_of(endpoint), through.text)
                assert through.content == (await direct.post(endpoint.path, json=body)).content, name_of(endpoint)
                if endpoint.path in HIDDEN_USAGE and body["stream"]:
                    assert ollama.hits[-2].json["stream_options"]["include_usage"]


@pytest.mark.promise("S5")
@pytest.mark.parametrize("usage", [True, False])
async def test_a_record_leaves_before_the_next_one_arrives(
    gateway: LiveGateway, ollama: FakeOllama, usage: bool
) -> None:
    tenancy = await make_tenancy(gateway.services)
    for endpoint in STREAMING:
        gate = asyncio.Event()
        before = len(Answers(endpoint).beginning(()))
        ollama.script = Script(tokens=6, gate=gate, gate_after_records=before + 3, words=(" w0", " w1", " w2", " w3"))
        async with (
            gateway.http(tenancy.key) as http,
            http.stream("POST", endpoint.path, json=streamed(endpoint, usage=usage)) as answer,
        ):
            chunks, received = answer.aiter_raw(), b""
            async with asyncio.timeout(5):
                while b" w2" not in received:  # it is not held back for the fourth
                    received += await anext(chunks)
            assert b" w3" not in received, name_of(endpoint)
            gate.set()
            received += b"".join([chunk async for chunk in chunks])
        assert received.count(b" w3") >= 1, name_of(endpoint)
        async with asyncio.timeout(5):
            await ollama.wait_idle()


async def latest_record_seconds(http: httpx.AsyncClient, ollama: FakeOllama, endpoint: Endpoint, usage: bool) -> float:
    """How long the slowest record of a stream was under way, from the fake's writing to the caller's reading."""
    words = Clocked(40)
    ollama.next(Script(tokens=len(words), words=words, gap_seconds=0.003))
    received = b""
    arrived_at: list[float] = []
    async with http.stream("POST", endpoint.path, json=streamed(endpoint, usage=usage)) as answer:
        async for chunk in answer.aiter_raw():
            received += chunk
            while len(arrived_at) < len(words) and b" w%04d" % len(arrived_at) in received:
                arrived_at.append(asyncio.get_running_loop().time())
    assert len(arrived_at) == len(words)
    written_at = words.asked_at[1:]
    return max(arrived - written for arrived, written in zip(arrived_at[:-1], written_at, strict=True))


@pytest.mark.alone
@pytest.mark.promise("S5")
async def test_every_record_leaves_within_20_ms_of_its_arrival(gateway: LiveGateway, ollama: FakeOllama) -> None:
    """Of three turns the best counts, since another program may have the machine for longer than that."""
    tenancy = await make_tenancy(gateway.services)
    async with gateway.http(tenancy.key) as http:
        for endpoint, usage in itertools.product(STREAMING, (True, False)):
            slowest = [await latest_record_seconds(http, ollama, endpoint, usage) for _ in range(3)]
            assert min(slowest) <= WITHIN_SECONDS, (name_of(endpoint), usage, slowest)


@pytest.mark.promise("S3")
@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions"])
@pytest.mark.parametrize(
    "fault", [Fault.SILENT_END, Fault.ERROR_RECORD, Fault.RESET, Fault.CLOSE_MID_CHUNK, Fault.GARBAGE_FRAMING]
)
async def test_a_broken_stream_never_ends_cleanly(
    gateway: LiveGateway, ollama: FakeOllama, path: str, fault: Fault
) -> None:
    ollama.script = Script(tokens=9, fault=fault, fault_after_records=4, gap_seconds=0.001)
    tenancy = await make_tenancy(gateway.services)
    received = b""
    async with gateway.http(tenancy.key) as http:
        with pytest.raises(httpx.RemoteProtocolError):
            async with http.stream("POST", path, json={**CHAT, "stream": True}) as answer:
                async for chunk in answer.aiter_raw():
                    received += chunk
    assert b'"error"' in received  # said in the surface's own words, before the abnormal end
    assert b"[DONE]" not in received
    async with asyncio.timeout(1):
        while gateway.services.limiter.open_admissions:
            await asyncio.sleep(0.01)


async def test_a_reply_that_is_not_streamed_arrives_with_its_length(gateway: LiveGateway, ollama: FakeOllama) -> None:
    tenancy = await make_tenancy(gateway.services)
    async with gateway.http(tenancy.key) as http:
        answer = await http.post("/api/chat", json=CHAT)
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert hashlib.sha256(answer.content).hexdigest() == ollama.hits[0].sent_digest
