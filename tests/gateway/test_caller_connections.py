"""What a caller may do on its connection, byte by byte, at the gateway's own port."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from neuronetz_gateway.http.caller_connection import CallerConnection
from tests.gateway.test_budgeting import settled
from tests.support.factories import make_tenancy
from tests.support.fake_ollama import Ended, FakeOllama, Script
from tests.support.gateways import LiveGateway, live_gateway
from tests.support.load import CHAT
from tests.support.stores import Stores

type Wire = tuple[asyncio.StreamReader, asyncio.StreamWriter]
STREAM = json.dumps({**CHAT, "stream": True}).encode()


class ImpatientConnection(CallerConnection):
    """The same bounds, reached within a test."""

    head_seconds = 0.3
    unread_seconds = 0.3
    stall_seconds = 0.3
    max_unread_bytes = 1024 * 1024


@pytest.fixture
async def impatient(stores: Stores, ollama: FakeOllama) -> AsyncIterator[LiveGateway]:
    async with live_gateway(stores, ollama.base_url, protocol=ImpatientConnection, body_timeout_s=0.3) as live:
        yield live


@asynccontextmanager
async def connected(gateway: LiveGateway, **options: socket.socket) -> AsyncIterator[Wire]:
    parts = urlsplit(gateway.base_url)
    address = {} if options else {"host": parts.hostname, "port": parts.port}
    reader, writer = await asyncio.open_connection(**address, **options)  # type: ignore[arg-type]  # either of two ways
    try:
        async with asyncio.timeout(10):
            yield reader, writer
    finally:
        writer.close()


async def until_closed(reader: asyncio.StreamReader) -> bytes:
    """Whatever comes before the end; a reset is one."""
    received = b""
    try:
        while piece := await reader.read(65536):
            received += piece
    except ConnectionResetError:
        pass
    return received


def request(path: str, key: str, body: bytes = b"", *fields: str, length: int | None = None) -> bytes:
    method = "POST" if body or length else "GET"
    lines = [f"{method} {path} HTTP/1.1", "Host: gateway", f"Authorization: Bearer {key}", *fields]
    if not any("chunked" in field for field in fields):
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@pytest.mark.promise("N4")
async def test_what_follows_the_body_is_no_header(stores: Stores, ollama: FakeOllama) -> None:
    """uvicorn adds trailers to the headers of their request. Proxies pass them on, so that behind a trusted one any
    caller could name the address from which it came, after the proxy had named the real one; or a key."""
    body = json.dumps(CHAT).encode()
    chunked = b"%x\r\n%b\r\n0\r\n" % (len(body), body)
    async with live_gateway(stores, ollama.base_url, trusted_proxies="127.0.0.1") as gateway:
        tenancy = await make_tenancy(gateway.services)
        async with connected(gateway) as (reader, writer):
            fields = ("X-Forwarded-For: 192.0.2.1", "Transfer-Encoding: chunked", "Connection: close")
            trailer = b"X-Forwarded-For: 203.0.113.6\r\n\r\n"
            writer.write(request("/api/chat", tenancy.key, chunked + trailer, *fields))
            assert (await until_closed(reader)).startswith(b"HTTP/1.1 200 ")
        async with connected(gateway) as (reader, writer):
            head = b"POST /api/chat HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
            writer.write(head + chunked + f"Authorization: Bearer {tenancy.key}\r\n\r\n".encode())
            assert (await until_closed(reader)).startswith(b"HTTP/1.1 401 ")
        await settled(stores, tenancy)
        [row] = await stores.fetch("select address from audit_log where tenant_id = $1", tenancy.tenant.id)
        assert row["address"] == "192.0.2.1"


@pytest.mark.promise("N4")
async def test_the_body_of_an_upgrade_is_not_the_next_request(gateway: LiveGateway, ollama: FakeOllama) -> None:
    """The parser takes no body with `Upgrade`: what its caller had declared as a body was served as a request of
    its own, whose answer a proxy would have given to whoever came next on that connection."""
    tenancy = await make_tenancy(gateway.services)
    hidden = request("/api/tags", tenancy.key)
    async with connected(gateway) as (reader, writer):
        outer = request("/api/chat", tenancy.key, b"", "Upgrade: h2c", "Connection: Upgrade", length=len(hidden))
        writer.write(outer)
        await writer.drain()
        writer.write(hidden)
        received = await until_closed(reader)
    assert received.count(b"x-request-id") == 1
    assert received.startswith(b"HTTP/1.1 400 ")
    assert b"without 'Upgrade'" in received
    assert not ollama.requests


@pytest.mark.promise("S1")
async def test_a_caller_who_leaves_behind_a_second_request_is_seen_to_leave(
    gateway: LiveGateway, stores: Stores, ollama: FakeOllama
) -> None:
    """uvicorn tells only the last request of a connection that it is lost: a pipelined one behind it kept the first
    one's upstream, reservation and place until the model had said everything."""
    tenancy = await make_tenancy(gateway.services)
    ollama.next(Script(tokens=50, gate=asyncio.Event(), gate_after_records=3))
    async with connected(gateway) as (_, writer):
        writer.write(request("/api/chat", tenancy.key, STREAM) + request("/api/chat", tenancy.key, STREAM))
        await ollama.wait_for(lambda: bool(ollama.hits) and ollama.hits[0].records_sent >= 3)
    await ollama.wait_for(lambda: ollama.hits[0].closed_at is not None, timeout_seconds=2)
    assert ollama.hits[0].ended is Ended.CALLER_LEFT
    await settled(stores, tenancy)
    assert len(ollama.hits) == 1
    assert gateway.services.limiter.open_admissions == 0


async def test_who_pipelines_gets_the_first_answer_whole_then_sends_again(gateway: LiveGateway) -> None:
    tenancy = await make_tenancy(gateway.services)
    async with connected(gateway) as (reader, writer):
        writer.write(request("/api/version", tenancy.key) * 3)
        received = await until_closed(reader)
    assert received.count(b"HTTP/1.1 200 OK") == 1
    assert b"connection: close" in received
    assert received.endswith(b"}")


@pytest.mark.promise("N5")
async def test_a_head_has_a_limit(gateway: LiveGateway) -> None:
    """uvicorn's parser has none: 5 MB of one header were taken from a caller without a key, and would have been kept
    for as long as it sent."""
    room = CallerConnection.max_head_bytes
    async with connected(gateway) as (reader, writer):
        writer.write(request("/healthz", "x", b"", "Connection: close", f"X-Pad: {'x' * (room - 500)}"))
        assert (await until_closed(reader)).startswith(b"HTTP/1.1 200 ")
    async with connected(gateway) as (reader, writer):
        writer.write(request("/healthz", "x", b"", f"X-Pad: {'x' * room}"))
        assert (await until_closed(reader)).startswith(b"HTTP/1.1 431 ")
    async with connected(gateway) as (reader, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\nX-Pad: " + b"x" * (room + 1))  # without an end
        assert (await until_closed(reader)).startswith(b"HTTP/1.1 431 ")
    async with connected(gateway) as (reader, writer):
        endless = b"1;" + b"x" * (room + 1)  # an extension of a chunk
        writer.write(request("/api/chat", "x", endless, "Transfer-Encoding: chunked"))
        await until_closed(reader)


@pytest.mark.promise("O3")
@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost:"])
async def test_a_head_that_does_not_end_is_not_waited_for(impatient: LiveGateway, sent: bytes) -> None:
    async with connected(impatient) as (reader, writer):
        writer.write(sent)
        async with asyncio.timeout(2):
            await until_closed(reader)


@pytest.mark.promise("O3")
async def test_line_breaks_between_two_requests_put_nothing_off(impatient: LiveGateway) -> None:
    async with connected(impatient) as (reader, writer):
        writer.write(request("/healthz", "x"))
        await reader.readuntil(b'{"status":"ok"}')
        writer.write(b"\r\n")
        async with asyncio.timeout(2):
            await until_closed(reader)


@pytest.mark.promise("O3")
async def test_a_body_that_comes_too_slowly_ends_its_connection(impatient: LiveGateway) -> None:
    tenancy = await make_tenancy(impatient.services)
    async with connected(impatient) as (reader, writer):
        writer.write(request("/api/chat", tenancy.key, b"{", length=100))
        async with asyncio.timeout(2):
            received = await until_closed(reader)
    assert received.startswith(b"HTTP/1.1 408 ")


@pytest.mark.promise("O3")
async def test_the_rest_of_a_refused_body_is_taken_within_bounds(impatient: LiveGateway) -> None:
    """Without a key anybody could send for ever: 3.4 GB in four seconds were read, to be thrown away."""
    async with connected(impatient) as (reader, writer):
        writer.write(request("/api/chat", "nz_wrong", b"x", length=10**9))
        async with asyncio.timeout(2):
            assert (await until_closed(reader)).startswith(b"HTTP/1.1 401 ")  # not a byte more came
    async with connected(impatient) as (_, writer):
        writer.write(request("/api/chat", "nz_wrong", b"x", length=10**9))
        with pytest.raises(ConnectionError):
            for _ in range(1000):
                writer.write(b"x" * 65536)
                await writer.drain()


async def test_after_a_refused_body_the_next_request_is_understood(gateway: LiveGateway) -> None:
    tenancy = await make_tenancy(gateway.services)
    async with connected(gateway) as (reader, writer):
        writer.write(request("/api/chat", "nz_wrong", b"x" * 10, length=200_000))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 401 ")
        writer.write(b"x" * 199_990 + request("/api/version", tenancy.key, b"", "Connection: close"))
        assert b"HTTP/1.1 200 OK" in await until_closed(reader)


@pytest.mark.promise("S4")
async def test_a_caller_who_does_not_read_is_given_up(
    impatient: LiveGateway, stores: Stores, ollama: FakeOllama
) -> None:
    """Only the total time-out of an hour ended it: 512 such callers held every place at the model server."""
    ollama.next(Script(tokens=3, huge_record_bytes=24_000_000))
    tenancy = await make_tenancy(impatient.services)
    parts = urlsplit(impatient.base_url)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect((parts.hostname, parts.port))
    sock.setblocking(False)
    sock.send(request("/api/chat", tenancy.key, STREAM))
    try:
        await ollama.wait_for(lambda: bool(ollama.hits) and ollama.hits[0].closed_at is not None, timeout_seconds=5)
        await settled(stores, tenancy)
    finally:
        sock.close()
    [row] = await stores.fetch("select outcome, charged_tokens from audit_log where tenant_id = $1", tenancy.tenant.id)
    assert row["outcome"] == "caller_left"
    assert row["charged_tokens"] > 0
    assert impatient.services.limiter.open_admissions == 0
