"""How long the upstream may be silent."""

import asyncio

import httpx
import pytest

from neuronetz_gateway.upstream.timing import Deadline
from neuronetz_gateway.upstream.transport import OllamaTransport
from tests.unit.upstream.raw_upstream import CHUNKED, OK, Peer, RawUpstream, chunk, exchange, post, settled
from tests.unit.upstream.test_cancellation import full_backlog


async def test_a_connection_that_is_not_accepted_times_out() -> None:
    async with OllamaTransport(connect_timeout_seconds=0.05) as transport:
        with full_backlog() as port, pytest.raises(httpx.ConnectTimeout):
            await transport.handle_async_request(httpx.Request("GET", f"http://127.0.0.1:{port}/"))
        assert transport.open_connections == 0


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nX: "], ids=["nothing", "half a head"])
async def test_a_head_that_does_not_come_times_out(upstream: RawUpstream, said: bytes) -> None:
    await upstream.says(said)
    async with OllamaTransport(first_byte_timeout_seconds=0.05) as transport:
        with pytest.raises(httpx.ReadTimeout):
            await transport.handle_async_request(post(upstream))
        await asyncio.wait_for(upstream.peers[0].gone.wait(), 1)
        await settled(lambda: transport.open_connections, 0)


async def test_a_silence_between_records_times_out_after_what_has_arrived(upstream: RawUpstream) -> None:
    await upstream.says(CHUNKED + chunk(b"one\n"))
    async with OllamaTransport(between_records_timeout_seconds=0.05) as transport:
        response = await transport.handle_async_request(post(upstream))
        await asyncio.wait_for(upstream.peers[0].gone.wait(), 1)
        stream = response.aiter_raw()
        assert await anext(stream) == b"one\n"
        with pytest.raises(httpx.ReadTimeout):
            await anext(stream)


@pytest.mark.promise("S6")
async def test_the_first_byte_may_take_longer_than_later_ones(upstream: RawUpstream) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await asyncio.sleep(0.2)
        peer.say(OK)

    upstream.script = script
    async with OllamaTransport(first_byte_timeout_seconds=None, between_records_timeout_seconds=0.05) as transport:
        assert await exchange(transport, post(upstream)) == (200, b"ok")


async def test_chunk_framing_without_records_is_silence(upstream: RawUpstream) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.say(CHUNKED + b"5;")
        while True:
            peer.say(b"x")
            await asyncio.sleep(0.01)

    upstream.script = script
    async with OllamaTransport(between_records_timeout_seconds=0.1) as transport:
        with pytest.raises(httpx.ReadTimeout):
            await exchange(transport, post(upstream))


async def test_an_upload_that_is_not_taken_times_out(upstream: RawUpstream) -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(3)

    upstream.script = script
    async with OllamaTransport(between_records_timeout_seconds=0.1) as transport:
        with pytest.raises(httpx.WriteTimeout):
            await transport.handle_async_request(post(upstream, bytes(50_000_000)))
        await settled(lambda: transport.open_connections, 0)


async def test_a_request_may_bring_its_own_timeouts(upstream: RawUpstream) -> None:
    await upstream.says()
    async with OllamaTransport(first_byte_timeout_seconds=None) as transport:
        probe = httpx.Request("GET", upstream.url, extensions={"timeout": {"read": 0.05}})
        with pytest.raises(httpx.ReadTimeout):
            await transport.handle_async_request(probe)
        async with httpx.AsyncClient(transport=transport, timeout=0.05) as caller:
            with pytest.raises(httpx.ReadTimeout):
                await caller.get(upstream.url)


async def test_a_reader_that_is_slow_is_not_a_silent_upstream(upstream: RawUpstream) -> None:
    body = bytes(5_000_000)
    await upstream.says(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    async with OllamaTransport(between_records_timeout_seconds=0.05) as transport:
        response = await transport.handle_async_request(post(upstream))
        await asyncio.sleep(0.2)
        assert len(await response.aread()) == len(body)
        assert transport.idle_connections == 1


async def test_a_deadline_moved_later_fires_later_moved_earlier_fires_earlier() -> None:
    loop = asyncio.get_running_loop()
    fired = asyncio.Event()
    deadline = Deadline(loop, loop.time, fired.set)
    deadline.move(0.02)
    deadline.move(0.15)
    await asyncio.sleep(0.06)
    assert not fired.is_set()
    deadline.move(60)
    deadline.move(0.01)
    await asyncio.wait_for(fired.wait(), 1)
    fired.clear()
    deadline.move(0.01)
    deadline.move(None)
    await asyncio.sleep(0.03)
    assert not fired.is_set()
    deadline.move(0.01)
    deadline.cancel()
    await asyncio.sleep(0.03)
    assert not fired.is_set()
