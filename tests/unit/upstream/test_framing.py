"""Answers that could be read in two ways are read in none."""

import asyncio

import httpx
import pytest

from neuronetz_gateway.upstream.transport import OllamaTransport
from tests.unit.upstream.raw_upstream import CHUNKED, OK, Peer, RawUpstream, chunk, exchange, get, settled

_STATUS = b"HTTP/1.1 200 OK\r\n"

_REFUSED = {
    "content-length beside transfer-encoding": _STATUS
    + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "transfer-encoding beside content-length": _STATUS
    + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two content-lengths": _STATUS + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    "the same content-length twice": _STATUS + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nok",
    "a list of content-lengths": _STATUS + b"Content-Length: 2, 2\r\n\r\nok",
    "a signed content-length": _STATUS + b"Content-Length: +2\r\n\r\nok",
    "an empty content-length": _STATUS + b"Content-Length:\r\n\r\nok",
    "an overflowing content-length": _STATUS + b"Content-Length: 99999999999999999999\r\n\r\nok",
    "a coding besides chunked": _STATUS + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a coding after chunked": _STATUS + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "a coding that is not chunked": _STATUS + b"Transfer-Encoding: identity\r\n\r\nok",
    "chunked twice": _STATUS + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked in HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/2.0": b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/0.9": b"HTTP/0.9 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "garbage": b"SSH-2.0-OpenSSH_9.9\r\n\r\n",
    "no status": b"HTTP/1.1 OK\r\n\r\n",
    "a status below 100": b"HTTP/1.1 099 X\r\nContent-Length: 2\r\n\r\nok",
    "a status of four digits": b"HTTP/1.1 2000 X\r\nContent-Length: 2\r\n\r\nok",
    "bare line feeds": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "a folded field": _STATUS + b"X: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
    "a blank before the colon": _STATUS + b"Content-Length : 2\r\n\r\nok",
    "a NUL": _STATUS + b"X: a\0b\r\nContent-Length: 2\r\n\r\nok",
    "101": b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
    "101 without fields": b"HTTP/1.1 101 Switching\r\n\r\n",
    "an unknown interim status": b"HTTP/1.1 150 X\r\n\r\n" + OK,
    "a head without end": _STATUS + b"X: " + b"a" * 70_000,
    "a head of many fields": _STATUS + b"X: aaaaaaaa\r\n" * 6_000 + b"\r\n",
    "interim heads without end": b"HTTP/1.1 100 Continue\r\n\r\n" * 3_000,
}

_BROKEN = {
    "a chunk size that is no number": CHUNKED + chunk(b"one\n") + b"zz\r\n",
    "an overflowing chunk size": CHUNKED + chunk(b"one\n") + b"f" * 20 + b"\r\n",
    "a chunk longer than its size": CHUNKED + chunk(b"one\n") + b"1\r\nab\r\n",
    "bare line feeds between chunks": CHUNKED + chunk(b"one\n") + b"3\nabc\n",
    "a trailer without end": CHUNKED + chunk(b"one\n") + b"0\r\nX: " + b"a" * 140_000,
    "a chunk extension without end": CHUNKED + chunk(b"one\n") + b"1;" + b"a" * 140_000,
    "garbage between chunks": CHUNKED + chunk(b"one\n") + b"\0\0\0\0",
}

_CUT = {
    "nothing at all": b"",
    "half a head": _STATUS + b"Content-Le",
    "a head alone": _STATUS + b"Content-Length: 2\r\n\r\n",
    "a body shorter than told": _STATUS + b"Content-Length: 20\r\n\r\nok",
    "no last chunk": CHUNKED + chunk(b"one\n"),
    "half a last chunk": CHUNKED + chunk(b"one\n") + b"0\r\n",
    "half a chunk": CHUNKED + b"8\r\none\n",
}


@pytest.mark.parametrize("answer", _REFUSED.values(), ids=_REFUSED)
async def test_a_head_is_refused(transport: OllamaTransport, upstream: RawUpstream, answer: bytes) -> None:
    await upstream.says(answer)
    with pytest.raises(httpx.RemoteProtocolError):
        await transport.handle_async_request(get(upstream))
    await settled(lambda: transport.open_connections, 0)


@pytest.mark.promise("S3")
@pytest.mark.parametrize("answer", _BROKEN.values(), ids=_BROKEN)
async def test_a_broken_body_delivers_what_was_good_then_raises(
    transport: OllamaTransport, upstream: RawUpstream, answer: bytes
) -> None:
    await upstream.says(answer)
    response = await transport.handle_async_request(get(upstream))
    received = bytearray()
    with pytest.raises(httpx.RemoteProtocolError):
        await _read_into(received, response)
    assert received.startswith(b"one\n")
    await settled(lambda: transport.open_connections, 0)


@pytest.mark.promise("S3")
@pytest.mark.parametrize("answer", _CUT.values(), ids=_CUT)
async def test_an_answer_that_is_cut_off_never_ends_cleanly(
    transport: OllamaTransport, upstream: RawUpstream, answer: bytes
) -> None:
    await upstream.says(answer, then_close=True)
    with pytest.raises(httpx.RemoteProtocolError):
        await exchange(transport, get(upstream))
    await settled(lambda: transport.open_connections, 0)


@pytest.mark.parametrize(
    "after", [b"HTTP", b"garbage", OK, b"\0"], ids=["half a head", "garbage", "a second answer", "NUL"]
)
@pytest.mark.parametrize("answer", [OK, CHUNKED + chunk(b"ok") + b"0\r\n\r\n"], ids=["by length", "chunked"])
async def test_bytes_after_the_end_cost_the_connection_but_not_the_answer(
    transport: OllamaTransport, upstream: RawUpstream, answer: bytes, after: bytes
) -> None:
    await upstream.says(answer + after)
    assert await exchange(transport, get(upstream)) == (200, b"ok")
    assert transport.idle_connections == 0
    await settled(lambda: transport.open_connections, 0)


async def test_a_body_in_answer_to_head_costs_the_connection(transport: OllamaTransport, upstream: RawUpstream) -> None:
    await upstream.says(OK)
    assert await exchange(transport, httpx.Request("HEAD", upstream.url)) == (200, b"")
    assert transport.idle_connections == 0


@pytest.mark.parametrize("interim", [b"100 Continue", b"102 Processing", b"103 Early Hints"])
async def test_interim_answers_are_skipped(transport: OllamaTransport, upstream: RawUpstream, interim: bytes) -> None:
    answer = b"HTTP/1.1 " + interim + b"\r\nLink: x\r\n\r\n" + OK
    await upstream.says(answer, answer)
    for _ in range(2):
        response = await transport.handle_async_request(get(upstream))
        assert await response.aread() == b"ok"
        assert "link" not in response.headers
    assert len(upstream.peers) == 1


async def test_trailers_are_dropped(transport: OllamaTransport, upstream: RawUpstream) -> None:
    await upstream.says(CHUNKED + chunk(b"ok") + b"0\r\nX-Late: 1\r\n\r\n", OK)
    response = await transport.handle_async_request(get(upstream))
    assert await response.aread() == b"ok"
    assert "x-late" not in response.headers
    assert (await exchange(transport, get(upstream)))[0] == 200
    assert len(upstream.peers) == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ],
    ids=["connection: close", "HTTP/1.0"],
)
async def test_a_connection_that_is_to_be_closed_is_not_pooled(
    transport: OllamaTransport, upstream: RawUpstream, answer: bytes
) -> None:
    await upstream.says(answer)
    assert await exchange(transport, get(upstream)) == (200, b"ok")
    assert transport.idle_connections == 0


async def test_an_answer_may_arrive_byte_by_byte(transport: OllamaTransport, upstream: RawUpstream) -> None:
    head = b"HTTP/1.1 200 OK\r\nX-Empty:\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = head + b"3;e=1\r\none\r\n3\r\ntwo\r\n0\r\nT: 1\r\n\r\n"

    async def script(peer: Peer) -> None:
        for _ in range(2):
            await peer.request()
            for byte in answer:
                peer.say(bytes([byte]))
                await asyncio.sleep(0)
        await peer.hears_the_end()

    upstream.script = script
    for _ in range(2):
        assert await exchange(transport, get(upstream)) == (200, b"onetwo")
    assert len(upstream.peers) == 1


async def _read_into(received: bytearray, response: httpx.Response) -> None:
    async for data in response.aiter_raw():
        received += data
