"""An answer that broke is never handed on as a whole one, nor booked as something else."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from tests.gateway.test_budgeting import settled
from tests.support.factories import Tenancy, make_tenancy
from tests.support.fake_ollama import FakeOllama, Fault, Script
from tests.support.gateways import LiveGateway, live_gateway
from tests.support.load import CHAT
from tests.support.stores import Stores

EMPTY = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
THOUGHTS = json.dumps(
    {
        "model": "fakea",
        "message": {"role": "assistant", "content": "{}", "thinking": "a long time"},
        "done": True,
        "prompt_eval_count": 5,
        "eval_count": 1,
    }
).encode()


@asynccontextmanager
async def saying(answer: bytes) -> AsyncIterator[str]:
    """The address of an upstream that says these bytes to every request."""

    async def answer_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer_one, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def booked(stores: Stores, tenancy: Tenancy) -> tuple[str, int, int]:
    """Outcome, status and charged tokens of a tenant's one request."""
    await settled(stores, tenancy)
    [row] = await stores.fetch(
        "select outcome, status, charged_tokens from audit_log where tenant_id = $1", tenancy.tenant.id
    )
    return row["outcome"], row["status"], row["charged_tokens"]


@pytest.mark.promise("S3")
@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions"])
async def test_an_answer_in_one_piece_that_broke_is_told_before_its_first_byte(
    gateway: LiveGateway, stores: Stores, ollama: FakeOllama, path: str
) -> None:
    """What Ollama leaves of a small broken answer has a length that fits it, so passing it on byte by byte was a clean
    200; now its last chunk waits for the verdict, so that the error can still be the answer."""
    ollama.script = Script(tokens=6, fault=Fault.SILENT_END, fault_after_records=3)
    tenancy = await make_tenancy(gateway.services)
    async with gateway.http(tenancy.key) as http:
        answer = await http.post(path, json=CHAT)
    assert answer.status_code == 502
    assert "before it was complete" in answer.text
    outcome, status, charged = await booked(stores, tenancy)
    assert (outcome, status) == ("upstream_broken", 502)
    assert charged > 0


@pytest.mark.promise("S3")
async def test_a_stream_that_never_began_does_not_end_cleanly(stores: Stores) -> None:
    """Go gives a stream without records `Content-Length: 0`. Passed on, it ended the answer of itself: the error event
    did not fit any more, uvicorn raised, the caller saw an empty 200."""
    async with saying(EMPTY) as upstream, live_gateway(stores, upstream) as gateway:
        tenancy = await make_tenancy(gateway.services)
        received = b""
        async with gateway.http(tenancy.key) as http:
            with pytest.raises(httpx.RemoteProtocolError):
                async with http.stream("POST", "/api/chat", json={**CHAT, "stream": True}) as answer:
                    async for chunk in answer.aiter_raw():
                        received += chunk
        assert b'"error"' in received
        assert (await booked(stores, tenancy))[0] == "upstream_broken"


async def test_a_list_that_cannot_be_read_is_booked_as_what_it_is(stores: Stores) -> None:
    """Its error was another than the one that the relay expected: 502 to the caller, `cut` with 499 in the audit."""
    async with saying(EMPTY) as upstream, live_gateway(stores, upstream) as gateway:
        tenancy = await make_tenancy(gateway.services)
        async with gateway.http(tenancy.key) as http:
            assert (await http.get("/api/tags")).status_code == 502
        assert await booked(stores, tenancy) == ("upstream_broken", 502, 0)


@pytest.mark.promise("B7")
async def test_thoughts_that_were_not_reported_are_charged_at_the_reservation(stores: Stores) -> None:
    """Asked for thoughts and a format in one piece, Ollama generates twice and reports once (OLLAMA §3.3)."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
    async with saying(head % len(THOUGHTS) + THOUGHTS) as upstream, live_gateway(stores, upstream) as gateway:
        tenancy = await make_tenancy(gateway.services)
        body = {**CHAT, "options": {"num_predict": 500}, "think": True, "format": "json"}
        async with gateway.http(tenancy.key) as http:
            assert (await http.post("/api/chat", json=body)).content == THOUGHTS
        assert (await booked(stores, tenancy))[2] >= 500


@pytest.mark.promise("B2")
async def test_a_caller_who_leaves_while_the_upstream_is_being_reached_is_charged_nothing(stores: Stores) -> None:
    """The request was taken for forwarded as soon as it was tried: a dead model server cost its callers a prompt."""
    with socket.socket() as full, socket.socket() as waiting, socket.socket() as another:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for each in (waiting, another):  # fill its queue; Linux then leaves further calls unanswered
            each.setblocking(False)
            each.connect_ex(full.getsockname())
        async with live_gateway(stores, f"http://127.0.0.1:{full.getsockname()[1]}") as gateway:
            tenancy = await make_tenancy(gateway.services)
            async with gateway.http(tenancy.key) as http:
                with pytest.raises(httpx.ReadTimeout):
                    await http.post("/api/chat", json=CHAT, timeout=httpx.Timeout(5, read=1))
            assert await booked(stores, tenancy) == ("not_forwarded", 499, 0)
