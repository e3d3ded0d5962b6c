"""A gateway that is told to end fails nobody who is with it, after turning everybody else away in good time."""

import asyncio
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson
import pytest

from neuronetz_gateway.cli.draining import DrainTimes
from tests.gateway.test_caller_connections import connected, request, until_closed
from tests.gateway.test_half_records import records_of, told
from tests.support.factories import Tenancy, make_tenancy
from tests.support.fake_ollama import FakeOllama, Script
from tests.support.gateways import LiveGateway, live_gateway
from tests.support.load import CHAT
from tests.support.raw_http import RawEnd, send_to_the_end
from tests.support.stores import Stores
from tests.support.valid_bodies import INFERRING, STREAMING, asking, name_of

STREAMED = {**CHAT, "stream": True}
TOLD = "The gateway is shutting down."


@asynccontextmanager
async def draining(
    stores: Stores, ollama: FakeOllama, *, accept: float, total: float
) -> AsyncIterator[tuple[LiveGateway, Tenancy]]:
    """A gateway that has so many seconds once it is told to end."""
    async with live_gateway(stores, ollama.base_url, drain=DrainTimes(accept, total)) as gateway:
        yield gateway, await make_tenancy(gateway.services)


async def asked(gateway: LiveGateway, tenancy: Tenancy, path: str, body: Any) -> RawEnd:
    """One request on a connection of its own that does not ask to be closed, up to its close."""
    return await send_to_the_end(gateway.base_url, request(path, tenancy.key, orjson.dumps(body)))


async def until_stopping(gateway: LiveGateway) -> None:
    async with asyncio.timeout(1), gateway.http() as http:
        while (answer := await http.get("/readyz")).status_code == httpx.codes.OK:
            await asyncio.sleep(0.01)
        assert (answer.status_code, answer.json()) == (503, {"ready": False, "missing": {"gateway": "stopping"}})
        assert (await http.get("/healthz")).status_code == httpx.codes.OK


async def outcomes(stores: Stores) -> list[tuple[str, int]]:
    """What the audit holds, once nothing is reserved any more."""
    assert await stores.fetch("select 1 from reservations") == []
    rows = await stores.fetch("select outcome, status from audit_log")
    return sorted((row["outcome"], row["status"]) for row in rows)


@pytest.mark.alone
@pytest.mark.promise("O4")
async def test_whoever_still_asks_is_served_and_told_to_go_elsewhere(stores: Stores, ollama: FakeOllama) -> None:
    """uvicorn closes its listener at once: a balancer that looks twice a second sent its callers to a closed port."""
    gate = asyncio.Event()
    async with draining(stores, ollama, accept=1.0, total=10) as (gateway, tenancy):
        async with connected(gateway) as (reader, writer):
            writer.write(request("/api/chat", tenancy.key, orjson.dumps(CHAT)))
            await reader.readuntil(b'"done":true')
            ollama.next(Script(gate=gate, gate_after_records=3))
            stream = asyncio.create_task(asked(gateway, tenancy, "/api/chat", STREAMED))
            await ollama.wait_for(lambda: len(ollama.hits) == 2 and ollama.hits[1].records_sent == 3)
            ollama.next(Script(gate=gate))
            whole = asyncio.create_task(asked(gateway, tenancy, "/api/chat", CHAT))
            await ollama.wait_for(lambda: len(ollama.hits) == 3)
            told_at = time.monotonic()
            gateway.server.handle_exit(signal.SIGTERM, None)
            await until_stopping(gateway)
            writer.write(request("/api/chat", tenancy.key, orjson.dumps(CHAT)))  # on a connection from before
            kept = await until_closed(reader)
        fresh = await asked(gateway, tenancy, "/api/chat", CHAT)
        gate.set()
        for answer in (fresh, await whole):
            assert (answer.status, answer.whole) == (200, True)
            assert b"connection: close" in answer.head
        assert b"HTTP/1.1 200 OK" in kept
        assert b"connection: close" in kept
        assert time.monotonic() - told_at < 1.0
        assert (await stream).whole
        await gateway.ended()
        assert 1.0 <= time.monotonic() - told_at < 3.0
        with pytest.raises(ConnectionRefusedError):
            await asked(gateway, tenancy, "/api/chat", CHAT)
    assert await outcomes(stores) == [("completed", 200)] * 5


@pytest.mark.promise("O4")
async def test_what_outlives_the_drain_is_told_so_in_the_words_of_its_surface(
    stores: Stores, ollama: FakeOllama
) -> None:
    """uvicorn cancels at its own time-out: streams ended without a word, the others with its own plain 500."""
    never = asyncio.Event()
    async with draining(stores, ollama, accept=0.1, total=0.6) as (gateway, tenancy):
        cases = [*((each, True) for each in STREAMING), *((each, False) for each in INFERRING)]
        running: list[asyncio.Task[RawEnd]] = []
        for endpoint, streamed in cases:
            ollama.next(Script(tokens=50, gate=never, gate_after_records=4 if streamed else 0))
            body = asking(endpoint, 50, stream=True) if streamed else asking(endpoint, 50, stream=False)
            running.append(asyncio.create_task(asked(gateway, tenancy, endpoint.path, body)))
            await ollama.wait_for(lambda: len(ollama.hits) == len(running))
        half = request("/api/chat", tenancy.key, b"{", length=100)
        uploading = asyncio.create_task(send_to_the_end(gateway.base_url, half))
        streams = [hit for hit, (_, streamed) in zip(ollama.hits, cases, strict=True) if streamed]
        await ollama.wait_for(lambda: all(hit.records_sent >= 4 for hit in streams))
        told_at = time.monotonic()
        gateway.server.handle_exit(signal.SIGTERM, None)
        done, _ = await asyncio.wait([*running, uploading], timeout=0.5)
        assert not done, "cut before its time"
        for (endpoint, streamed), answer in zip(cases, await asyncio.gather(*running), strict=True):
            if streamed:
                assert (answer.status, answer.whole) == (200, False), name_of(endpoint)
                assert told(records_of(endpoint, answer.body)[-1]) == TOLD, name_of(endpoint)
            else:
                assert (answer.status, answer.whole) == (503, True), name_of(endpoint)
                assert b"retry-after: " in answer.head, name_of(endpoint)
                assert told(orjson.loads(answer.body)) == TOLD, name_of(endpoint)
        refused = await uploading
        assert (refused.status, told(orjson.loads(refused.body))) == (503, TOLD)
        await gateway.ended()
        assert time.monotonic() - told_at < 4.0
    cut = [("cut", 200)] * len(STREAMING) + [("cut", 503)] * len(INFERRING)
    assert await outcomes(stores) == [*cut, ("refused", 503)]
    assert ollama.in_flight == 0


@pytest.mark.promise("O4", "S4")
async def test_a_second_signal_ends_it_now_even_before_callers_who_do_not_read(
    stores: Stores, ollama: FakeOllama
) -> None:
    async with draining(stores, ollama, accept=20, total=30) as (gateway, tenancy):
        ollama.next(Script(tokens=4000, words=("x" * 8000,)))  # more than all buffers on the way hold
        parts = urlsplit(gateway.base_url)
        with socket.socket() as unread:
            unread.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            unread.connect((parts.hostname, parts.port))
            unread.setblocking(False)
            unread.send(request("/api/chat", tenancy.key, orjson.dumps(STREAMED)))
            await ollama.wait_for(lambda: bool(ollama.hits) and ollama.hits[0].records_sent > 10)
            told_at = time.monotonic()
            gateway.server.handle_exit(signal.SIGTERM, None)
            await until_stopping(gateway)
            gateway.server.handle_exit(signal.SIGTERM, None)
            await gateway.ended()
            assert time.monotonic() - told_at < 5
    assert await outcomes(stores) == [("cut", 200)]


async def test_ctrl_c_without_requests_keeps_nobody_waiting(stores: Stores, ollama: FakeOllama) -> None:
    """Somebody who presses Ctrl-C has no balancer that would have to turn away first."""
    async with draining(stores, ollama, accept=20, total=30) as (gateway, _):
        async with connected(gateway) as (reader, writer):
            writer.write(request("/healthz", "x"))
            await reader.readuntil(b'{"status":"ok"}')  # an idle connection holds nothing up
            told_at = time.monotonic()
            gateway.server.handle_exit(signal.SIGINT, None)
            assert await until_closed(reader) == b""
        await gateway.ended()
        assert time.monotonic() - told_at < 1.5
