"""A slow reader slows the upstream down instead of filling the memory."""

import asyncio
import hashlib

import httpx
import pytest

from neuronetz_gateway.upstream.reply import Reply
from neuronetz_gateway.upstream.transport import OllamaTransport
from tests.unit.upstream.raw_upstream import CHUNKED, OK, Peer, RawUpstream, chunk, exchange, post, settled

_PIECE = bytes(range(256)) * 256
_PIECES = 800  # 50 MB


@pytest.mark.promise("S4")
@pytest.mark.parametrize("chunked", [False, True])
async def test_fifty_megabytes_for_a_slow_reader_are_never_held(
    transport: OllamaTransport, upstream: RawUpstream, *, chunked: bool
) -> None:
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        peer.say(CHUNKED if chunked else b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(_PIECE) * _PIECES))
        for _ in range(_PIECES):
            peer.say(chunk(_PIECE) if chunked else _PIECE)
            await peer.writer.drain()
            sent += len(_PIECE)
        if chunked:
            peer.say(b"0\r\n\r\n")
        await peer.request()
        peer.say(OK)

    upstream.script = script
    response = await transport.handle_async_request(post(upstream))
    assert isinstance(response.stream, Reply)
    largest = received = 0
    digest = hashlib.sha256()
    await asyncio.sleep(0.1)
    assert sent < len(_PIECE) * _PIECES / 2  # what the kernel holds, not more
    async for data in response.stream:
        largest = max(largest, len(data), len(response.stream.body))
        received += len(data)
        digest.update(data)
        if received % 5 == 0:
            await asyncio.sleep(0)
    assert largest <= 24 * 1024
    assert digest.digest() == hashlib.sha256(_PIECE * _PIECES).digest()
    assert await exchange(transport, post(upstream)) == (200, b"ok")
    assert len(upstream.peers) == 1


async def test_a_paused_connection_that_is_aborted_is_closed(transport: OllamaTransport, upstream: RawUpstream) -> None:
    await upstream.says(b"HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n" + bytes(5_000_000))
    response = await transport.handle_async_request(post(upstream))
    assert isinstance(response.stream, Reply)
    reply = response.stream
    await settled(lambda: len(reply.body) > 8 * 1024, expected=True)
    reply.abort()
    await asyncio.wait_for(upstream.peers[0].gone.wait(), 1)


async def test_a_reset_behind_a_full_buffer_is_told_after_the_buffer(
    transport: OllamaTransport, upstream: RawUpstream
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n" + bytes(1_000_000))
        await peer.writer.drain()
        peer.reset()

    upstream.script = script
    response = await transport.handle_async_request(post(upstream))
    with pytest.raises(httpx.TransportError):
        await response.aread()
