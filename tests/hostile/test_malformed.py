"""What becomes of a connection on which something came that is no request."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from neuronetz_gateway.http.caller_connection import CallerConnection
from tests.gateway.test_budgeting import settled
from tests.hostile.raw_requests import BODY, CHUNK, get, head, sized
from tests.support.factories import Tenancy, make_tenancy
from tests.support.fake_ollama import FakeOllama, Script
from tests.support.gateways import LiveGateway, live_gateway
from tests.support.raw_exchange import answer
from tests.support.stores import Stores

type Wire = tuple[asyncio.StreamReader, asyncio.StreamWriter]
PATHS = {"/api/chat": "ollama", "/v1/chat/completions": "openai", "/v1/messages": "anthropic", "/nothing": "ollama"}


@pytest.fixture
async def gateway(stores: Stores, ollama: FakeOllama) -> AsyncIterator[LiveGateway]:
    async with live_gateway(stores, ollama.base_url) as live:
        yield live


@pytest.fixture
async def tenancy(gateway: LiveGateway) -> Tenancy:
    return await make_tenancy(gateway.services)


@asynccontextmanager
async def connected(gateway: LiveGateway) -> AsyncIterator[Wire]:
    parts = urlsplit(gateway.base_url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        async with asyncio.timeout(5):
            yield reader, writer
    finally:
        writer.close()


def with_key(sent: bytes, tenancy: Tenancy) -> bytes:
    return sent.replace(b"@KEY@", tenancy.key.encode())


@pytest.mark.promise("N1")
@pytest.mark.parametrize("path", PATHS)
async def test_a_malformed_request_is_refused_in_the_words_of_its_surface(gateway: LiveGateway, path: str) -> None:
    async with connected(gateway) as (reader, writer):
        writer.write(sized(b"X-Request-ID: mine", b"Host: b", target=path.encode()))
        found = await answer(reader)
        assert await reader.read() == b""
    fields, told = found.fields(), json.loads(found.body)
    assert found.status == 400
    assert fields["x-request-id"] == "mine"
    message = "The request needs one 'Host' header, no more."
    match PATHS[path]:
        case "ollama":
            assert told == {"error": message}
        case "openai":
            assert (told["error"]["code"], told["error"]["message"]) == ("malformed_request", message)
        case "anthropic":
            assert fields["request-id"] == told["request_id"] == "mine"
            assert told["error"]["type"] == "invalid_request_error"


async def test_what_the_connection_refuses_is_counted(gateway: LiveGateway) -> None:
    """It stood in the log alone, so that nobody's dashboard showed such an attack."""
    for _ in range(3):
        async with connected(gateway) as (reader, writer):
            writer.write(sized(b"Host: b"))
            assert (await answer(reader)).status == 400
    async with gateway.http() as http:
        page = (await http.get("/metrics")).text
    assert 'neuronetz_refusals_total{reason="malformed_request"} 3.0' in page


@pytest.mark.promise("N1")
async def test_a_chunk_that_breaks_after_the_answer_gets_no_second_one(gateway: LiveGateway) -> None:
    """Whoever had no key was told 401, then, for the rest of its body, 400: a proxy that goes on using the connection
    would have given that second answer to whoever came next."""
    async with connected(gateway) as (reader, writer):
        writer.write(sized().partition(b"\r\n")[0] + b"\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNK)
        assert (await answer(reader)).status == 401
        writer.write(b"no size at all\r\n")
        assert await reader.read() == b""


@pytest.mark.promise("N1")
async def test_what_is_no_request_does_not_disturb_the_answer_before_it(
    gateway: LiveGateway, tenancy: Tenancy, ollama: FakeOllama
) -> None:
    """Bytes behind a request that was being answered had it answered with 400, or its answer cut off."""
    gate = asyncio.Event()
    ollama.next(Script(tokens=5, gate=gate, gate_after_records=0))
    async with connected(gateway) as (reader, writer):
        writer.write(with_key(sized(), tenancy) + b"\x00\x01 nothing\r\n\r\n")
        await ollama.wait_for(lambda: bool(ollama.hits))
        writer.write(b"\x00" * 1_000)
        gate.set()
        found = await answer(reader)
        assert found.status == 200
        assert json.loads(found.body)["done"] is True
        assert await reader.read() == b""


@pytest.mark.promise("N1")
@pytest.mark.parametrize("target", [b"/api/tags", b"/api/version", b"/v1/models", b"/api/ps"])
async def test_no_body_rides_on_a_request_that_has_none(
    gateway: LiveGateway, tenancy: Tenancy, ollama: FakeOllama, target: bytes
) -> None:
    """A GET went up before its body had come, so also where that turned out to be broken: then it was no request."""
    async with connected(gateway) as (reader, writer):
        writer.write(with_key(get(b"Transfer-Encoding: chunked", target=target), tenancy))
        assert (await answer(reader)).status == 400
    assert not ollama.requests


@pytest.mark.promise("N4")
async def test_a_caller_of_an_older_protocol_is_not_told_to_go_on(gateway: LiveGateway, tenancy: Tenancy) -> None:
    """RFC 9110 §10.1.1: HTTP/1.0 knows no answers but the last one, so that `100 Continue` was taken for it."""
    async with connected(gateway) as (reader, writer):
        fields = b"Content-Length: %d" % len(BODY), b"Expect: 100-continue"
        writer.write(with_key(head(b"POST /api/chat HTTP/1.0", *fields), tenancy))
        await asyncio.sleep(0.05)  # what must not come has no event
        writer.write(BODY)
        found = await answer(reader)
        assert (found.status, found.told_to_continue) == (200, False)


@pytest.mark.promise("N5")
@pytest.mark.parametrize("pieces", [1, 2, 7])
async def test_the_limit_of_a_head_holds_to_the_byte(gateway: LiveGateway, pieces: int) -> None:
    for length, status in ((0, 200), (1, 431)):
        frame = len(get(b"X-A: ", target=b"/healthz"))
        sent = get(b"X-A: " + b"a" * (CallerConnection.max_head_bytes - frame + length), target=b"/healthz")
        step = -(-len(sent) // pieces)
        async with connected(gateway) as (reader, writer):
            for start in range(0, len(sent), step):
                writer.write(sent[start : start + step])
                await writer.drain()
                await asyncio.sleep(0.01)  # so that they are read apart
            assert (await answer(reader)).status == status, (len(sent), pieces)


@pytest.mark.promise("N5")
async def test_a_head_has_so_many_fields(gateway: LiveGateway) -> None:
    room = CallerConnection.max_head_fields - 2  # `Host`, `Authorization`
    for more, status in ((0, 200), (1, 431)):
        async with connected(gateway) as (reader, writer):
            writer.write(get(*[b"X: a"] * (room + more), target=b"/healthz"))
            assert (await answer(reader)).status == status


SAID_OF_ONESELF = (
    b"X-Forwarded-For: 203.0.113.9", b"X_Forwarded_For: 203.0.113.9", b"X-Real-IP: 203.0.113.9",
    b"Forwarded: for=203.0.113.9", b"Connection: x-forwarded-for, authorization\r\nX-Forwarded-For: 203.0.113.9",
    b"X-Forwarded-For: ::1\r\nX-Forwarded-For: 203.0.113.9", b"True-Client-IP: 203.0.113.9",
)  # fmt: skip


@pytest.mark.promise("N4")
@pytest.mark.parametrize("said", SAID_OF_ONESELF)
async def test_what_a_stranger_says_of_itself_changes_nothing(
    gateway: LiveGateway, tenancy: Tenancy, ollama: FakeOllama, stores: Stores, said: bytes
) -> None:
    async with connected(gateway) as (reader, writer):
        writer.write(with_key(sized(said, b"X-HTTP-Method-Override: DELETE", b"X-Original-URL: /api/pull"), tenancy))
        assert (await answer(reader)).status == 200
    await settled(stores, tenancy)
    [row] = await stores.fetch("select address, endpoint, api_key_id from audit_log where outcome = 'completed'")
    assert (row["address"], row["endpoint"], row["api_key_id"]) == ("127.0.0.1", "/api/chat", tenancy.api_key.id)
    [seen] = ollama.requests
    assert seen.route == seen.target == "/api/chat"
    assert not {name.lower() for name, _ in seen.headers} & {"x-forwarded-for", "forwarded", "connection", "x-real-ip"}


@pytest.mark.promise("N4")
async def test_connection_names_nothing_away_behind_a_proxy(
    stores: Stores, ollama: FakeOllama, tenancy: Tenancy
) -> None:
    """Some proxies drop what `Connection` names: an address that a caller could have dropped would be the proxy's."""
    async with live_gateway(stores, ollama.base_url, trusted_proxies="127.0.0.1") as behind, connected(behind) as wire:
        fields = b"X-Forwarded-For: 192.0.2.7", b"Connection: x-forwarded-for", b"X_Forwarded_For: 203.0.113.9"
        wire[1].write(with_key(sized(*fields), tenancy))
        assert (await answer(wire[0])).status == 200
        await settled(stores, tenancy)
    [row] = await stores.fetch("select address from audit_log where outcome = 'completed'")
    assert row["address"] == "192.0.2.7"
