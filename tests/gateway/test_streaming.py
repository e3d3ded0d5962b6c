"""Records pass at once, unchanged; a broken stream never ends like a whole one."""

import asyncio
import hashlib
import json

import httpx
import pytest

from tests.support.factories import make_tenancy
from tests.support.fake_ollama import FakeOllama, Fault, Script
from tests.support.gateways import LiveGateway
from tests.support.load import CHAT


@pytest.mark.promise("S5")
@pytest.mark.parametrize(
    ("path", "extra"),
    [
        ("/api/chat", {}),
        ("/api/generate", {"prompt": "Once"}),
        ("/v1/chat/completions", {"stream_options": {"include_usage": True}}),
    ],
)
async def test_the_payload_is_identical_by_hash(
    gateway: LiveGateway, ollama: FakeOllama, path: str, extra: dict[str, object]
) -> None:
    tenancy = await make_tenancy(gateway.services)
    async with gateway.http(tenancy.key) as http:
        for turn in range(50):
            ollama.next(Script(tokens=turn + 1))
            answer = await http.post(path, json={**CHAT, "stream": True, **extra})
            assert hashlib.sha256(answer.content).hexdigest() == ollama.hits[-1].sent_digest


@pytest.mark.promise("S5")
async def test_only_the_usage_that_the_gateway_asked_for_is_taken_out(gateway: LiveGateway, ollama: FakeOllama) -> None:
    tenancy = await make_tenancy(gateway.services)
    async with gateway.http(tenancy.key) as http:
        with_usage = await http.post(
            "/v1/chat/completions", json={**CHAT, "stream": True, "stream_options": {"include_usage": True}}
        )
        without = await http.post("/v1/chat/completions", json={**CHAT, "stream": True})
    records = with_usage.content.split(b"\n\n")
    kept = [record for record in records if b'"choices":[]' not in record]
    assert without.content == b"\n\n".join(kept)
    assert len(kept) == len(records) - 1
    assert all(seen.json["stream_options"]["include_usage"] for seen in ollama.hits)


@pytest.mark.promise("S5")
async def test_a_record_leaves_before_the_next_one_arrives(gateway: LiveGateway, ollama: FakeOllama) -> None:
    gate = asyncio.Event()
    ollama.script = Script(tokens=6, gate=gate, gate_after_records=3)
    tenancy = await make_tenancy(gateway.services)
    async with (
        gateway.http(tenancy.key) as http,
        http.stream("POST", "/api/chat", json={**CHAT, "stream": True}) as answer,
    ):
        lines = answer.aiter_lines()
        async with asyncio.timeout(5):
            first = [await anext(lines) for _ in range(3)]  # none of them is held back for the fourth
        assert not any(json.loads(line)["done"] for line in first)
        gate.set()
        rest = [line async for line in lines]
    assert json.loads(rest[-1])["done"]


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
