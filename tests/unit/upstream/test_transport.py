"""What the transport does when all goes well."""

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator

import httpx
import pytest

from neuronetz_gateway.upstream.transport import OllamaTransport
from tests.unit.upstream.raw_upstream import CHUNKED, OK, Peer, RawUpstream, chunk, exchange, get, post


async def test_a_hundred_requests_in_a_row_need_one_connection(
    transport: OllamaTransport, upstream: RawUpstream
) -> None:
    for _ in range(100):
        assert await exchange(transport, post(upstream)) == (200, b"ok")
    assert len(upstream.peers) == 1
    assert upstream.request_count == 100
    assert (transport.open_connections, transport.idle_connections) == (1, 1)


async def test_concurrent_requests_have_a_connection_each(transport: OllamaTransport, upstream: RawUpstream) -> None:
    answers = await asyncio.gather(*(exchange(transport, post(upstream)) for _ in range(20)))
    assert answers == [(200, b"ok")] * 20
    assert len(upstream.peers) == transport.idle_connections == 20


async def test_the_request_goes_up_as_it_is(transport: OllamaTransport, upstream: RawUpstream) -> None:
    request = httpx.Request(
        "POST", upstream.url + "/api/chat?a=%20b", headers=[(b"X-One", b"1"), (b"X-One", b"2")], content=b"{}"
    )
    await exchange(transport, request)
    head, body = upstream.peers[0].requests[0]
    host = f"127.0.0.1:{upstream.port}".encode()
    assert head == (
        b"POST /api/chat?a=%20b HTTP/1.1\r\nHost: " + host + b"\r\nX-One: 1\r\nX-One: 2\r\nContent-Length: 2\r\n\r\n"
    )
    assert body == b"{}"


async def test_a_given_host_is_kept(transport: OllamaTransport, upstream: RawUpstream) -> None:
    await exchange(transport, httpx.Request("GET", upstream.url, headers={"Host": "ollama.internal"}))
    head, _ = upstream.peers[0].requests[0]
    assert head == b"GET / HTTP/1.1\r\nHost: ollama.internal\r\n\r\n"


async def test_a_post_without_a_body_says_so(transport: OllamaTransport, upstream: RawUpstream) -> None:
    await exchange(transport, post(upstream, b""))
    assert b"\r\nContent-Length: 0\r\n" in upstream.peers[0].requests[0][0]


async def test_a_streamed_request_body_is_read_whole_then_framed_by_its_length(
    transport: OllamaTransport, upstream: RawUpstream
) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for part in (b"a", b"b", b"c"):
            yield part

    await exchange(transport, httpx.Request("POST", upstream.url, content=parts()))
    head, body = upstream.peers[0].requests[0]
    assert body == b"abc"
    assert b"transfer-encoding" not in head.lower()


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 5_000_000])
async def test_a_body_of_any_size_arrives_unchanged(
    transport: OllamaTransport, upstream: RawUpstream, size: int
) -> None:
    body = random.Random(size).randbytes(size)
    for _ in range(2):
        assert await exchange(transport, post(upstream, body)) == (200, b"ok")
    assert [len(seen) for _, seen in upstream.peers[0].requests] == [size, size]
    assert all(hashlib.sha256(seen).digest() == hashlib.sha256(body).digest() for _, seen in upstream.peers[0].requests)
    assert len(upstream.peers) == 1


@pytest.mark.promise("S5")
async def test_each_record_arrives_before_the_next_is_sent(transport: OllamaTransport, upstream: RawUpstream) -> None:
    received = asyncio.Event()

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            peer.say(CHUNKED)
            for number in range(50):
                peer.say(chunk(b"record %d\n" % number))
                await received.wait()
                received.clear()
            peer.say(b"0\r\n\r\n")

    upstream.script = script
    for _ in range(2):
        records = []
        response = await transport.handle_async_request(post(upstream))
        assert isinstance(response.stream, httpx.AsyncByteStream)
        async for record in response.stream:
            records.append(record)
            received.set()
        assert records == [b"record %d\n" % number for number in range(50)]
    assert len(upstream.peers) == 1


async def test_records_that_arrive_together_leave_together(transport: OllamaTransport, upstream: RawUpstream) -> None:
    await upstream.says(CHUNKED + chunk(b"one\n") + chunk(b"two\n") + b"0\r\n\r\n")
    response = await transport.handle_async_request(post(upstream))
    assert isinstance(response.stream, httpx.AsyncByteStream)
    assert [record async for record in response.stream] == [b"one\ntwo\n"]


async def test_a_connection_is_pooled_at_the_last_byte_although_nobody_has_read_the_body(
    transport: OllamaTransport, upstream: RawUpstream
) -> None:
    response = await transport.handle_async_request(post(upstream))
    assert transport.idle_connections == 1
    assert await exchange(transport, post(upstream)) == (200, b"ok")
    assert await response.aread() == b"ok"
    await response.aclose()
    assert transport.idle_connections == transport.open_connections == 1


async def test_an_answer_to_head_has_no_body(transport: OllamaTransport, upstream: RawUpstream) -> None:
    await upstream.says(b"HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n")
    assert await exchange(transport, httpx.Request("HEAD", upstream.url)) == (200, b"")


@pytest.mark.parametrize("status", [204, 304])
async def test_these_statuses_have_no_body(transport: OllamaTransport, upstream: RawUpstream, status: int) -> None:
    await upstream.says(b"HTTP/1.1 %d X\r\n\r\n" % status, OK)
    assert await exchange(transport, get(upstream)) == (status, b"")
    assert await exchange(transport, get(upstream)) == (200, b"ok")
    assert len(upstream.peers) == 1


async def test_a_body_may_end_with_its_connection_which_is_not_pooled(
    transport: OllamaTransport, upstream: RawUpstream
) -> None:
    await upstream.says(b"HTTP/1.1 200 OK\r\n\r\nto the very end", then_close=True)
    assert await exchange(transport, get(upstream)) == (200, b"to the very end")
    assert transport.idle_connections == 0


async def test_a_redirect_is_an_answer(transport: OllamaTransport, upstream: RawUpstream) -> None:
    await upstream.says(b"HTTP/1.1 307 X\r\nLocation: /api/pull\r\nContent-Length: 0\r\n\r\n")
    assert await exchange(transport, post(upstream)) == (307, b"")
    assert upstream.request_count == 1


async def test_an_answer_before_the_end_of_the_upload_is_delivered_but_its_connection_is_not_pooled(
    transport: OllamaTransport, upstream: RawUpstream
) -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        peer.say(b"HTTP/1.1 413 X\r\nContent-Length: 3\r\n\r\nbig")
        await peer.gone.wait()

    upstream.script = script
    assert await exchange(transport, post(upstream, bytes(50_000_000))) == (413, b"big")
    assert transport.idle_connections == 0


async def test_it_serves_an_httpx_client(transport: OllamaTransport, upstream: RawUpstream) -> None:
    body = b'{"models": []}'
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    stream = CHUNKED + chunk(b"one\n") + chunk(b"two\n") + b"0\r\n\r\n"
    await upstream.says(answer, stream)
    async with httpx.AsyncClient(transport=transport, base_url=upstream.url) as caller:
        response = await caller.get("/api/tags")
        assert response.json() == {"models": []}
        assert response.http_version == "HTTP/1.1"
        async with caller.stream("POST", "/api/chat", json={}) as streamed:
            assert [line async for line in streamed.aiter_lines()] == ["one", "two"]
        assert transport.idle_connections == len(upstream.peers) == 1
    assert transport.idle_connections == 0


@pytest.mark.parametrize(
    "request_",
    [
        httpx.Request("GET", "http://127.0.0.1:1/", headers=[(b"X", b"a\r\nY: b")]),
        httpx.Request("GET", "http://127.0.0.1:1/", headers=[(b"X", b"a\nY: b")]),
        httpx.Request("POST", "http://127.0.0.1:1/", headers={"Content-Length": "5"}, content=b"{}"),
    ],
)
async def test_a_request_that_could_be_read_in_two_ways_is_not_sent(
    transport: OllamaTransport, request_: httpx.Request
) -> None:
    with pytest.raises(httpx.LocalProtocolError):
        await transport.handle_async_request(request_)


async def test_other_schemes_are_refused(transport: OllamaTransport) -> None:
    with pytest.raises(httpx.UnsupportedProtocol):
        await transport.handle_async_request(httpx.Request("GET", "ftp://127.0.0.1/"))
