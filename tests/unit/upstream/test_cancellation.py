"""Callers leave at every moment."""

import asyncio
import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from neuronetz_gateway.upstream.reply import Reply
from neuronetz_gateway.upstream.transport import OllamaTransport
from tests.unit.upstream.raw_upstream import CHUNKED, OK, Peer, RawUpstream, answer_ok, chunk, exchange, post, settled

LARGE = bytes(50_000_000)


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@contextmanager
def full_backlog() -> Iterator[int]:
    """A port on which connecting neither succeeds nor fails: the listener never accepts, its queue is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", port))
            yield port
        finally:
            for filler in fillers:
                filler.close()


async def serves_a_hundred(transport: OllamaTransport, upstream: RawUpstream) -> None:
    upstream.script = answer_ok
    answers = await asyncio.gather(*(exchange(transport, post(upstream)) for _ in range(100)))
    assert [status for status, _ in answers] == [200] * 100
    assert transport.open_connections == transport.idle_connections


async def test_a_cancel_while_connecting_leaves_nothing(transport: OllamaTransport, upstream: RawUpstream) -> None:
    before = open_descriptors()
    with full_backlog() as port:
        request = httpx.Request("GET", f"http://127.0.0.1:{port}/")
        tasks = [asyncio.create_task(transport.handle_async_request(request)) for _ in range(20)]
        await asyncio.sleep(0.02)
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results)
    await settled(lambda: transport.open_connections, 0)
    await settled(open_descriptors, before)
    await serves_a_hundred(transport, upstream)


@pytest.mark.promise("S1", "S2")
@pytest.mark.parametrize("phase", ["upload", "before the first byte", "within the head", "mid-stream"])
async def test_a_cancel_closes_the_connection_as_the_upstream_sees_within_a_second(
    transport: OllamaTransport, upstream: RawUpstream, phase: str
) -> None:
    reached = asyncio.Event()

    async def script(peer: Peer) -> None:
        if phase == "upload":
            await peer.reader.readuntil(b"\r\n\r\n")
            reached.set()
            await asyncio.sleep(0.05)  # nothing is read meanwhile, so that the gateway must wait
        else:
            await peer.request()
            if phase == "within the head":
                peer.say(b"HTTP/1.1 200 OK\r\nContent-")
            elif phase == "mid-stream":
                peer.say(CHUNKED + chunk(b"one\n"))
            else:
                reached.set()
        await peer.hears_the_end()

    async def ask() -> None:
        response = await transport.handle_async_request(post(upstream, LARGE if phase == "upload" else b"{}"))
        assert isinstance(response.stream, Reply)
        async for _ in response.stream:
            reached.set()

    upstream.script = script
    for count in range(1, 6):
        reached.clear()
        task = asyncio.create_task(ask())
        if phase == "within the head":
            await settled(lambda: upstream.request_count, count)
            await asyncio.sleep(0.01)  # half a head is nothing that could be awaited
        else:
            await asyncio.wait_for(reached.wait(), 3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert transport.idle_connections == 0
        await asyncio.wait_for(upstream.peers[-1].gone.wait(), 1)
        await settled(lambda: transport.open_connections, 0)
    await serves_a_hundred(transport, upstream)


@pytest.mark.promise("S1")
async def test_abort_is_synchronous_idempotent_also_after_the_end(
    transport: OllamaTransport, upstream: RawUpstream
) -> None:
    await upstream.says(CHUNKED + chunk(b"one\n"))
    response = await transport.handle_async_request(post(upstream))
    assert isinstance(response.stream, Reply)
    assert await anext(response.stream) == b"one\n"
    response.stream.abort()
    response.stream.abort()
    await response.aclose()
    await asyncio.wait_for(upstream.peers[0].gone.wait(), 1)
    with pytest.raises(httpx.ReadError):
        await anext(response.stream)

    upstream.script = answer_ok
    response = await transport.handle_async_request(post(upstream))
    assert isinstance(response.stream, Reply)
    response.stream.abort()  # nothing is left to come, so that the connection is in the pool already
    assert transport.idle_connections == 1


async def test_an_abort_wakes_whoever_waits_for_the_next_record(
    transport: OllamaTransport, upstream: RawUpstream
) -> None:
    await upstream.says(CHUNKED)
    response = await transport.handle_async_request(post(upstream))
    assert isinstance(response.stream, Reply)
    waiting = asyncio.ensure_future(anext(response.stream))
    await asyncio.sleep(0)
    response.stream.abort()
    with pytest.raises(httpx.ReadError):
        await waiting


async def test_leaving_an_httpx_stream_early_closes_its_connection(
    transport: OllamaTransport, upstream: RawUpstream
) -> None:
    await upstream.says(CHUNKED + chunk(b"one\n"))
    async with httpx.AsyncClient(transport=transport) as caller:
        async with caller.stream("POST", upstream.url) as response:
            assert await anext(response.aiter_raw()) == b"one\n"
        await asyncio.wait_for(upstream.peers[0].gone.wait(), 1)
        assert transport.idle_connections == 0


async def test_a_cancel_that_comes_with_the_last_byte_neither_loses_nor_taints_the_connection(
    transport: OllamaTransport, upstream: RawUpstream
) -> None:
    """The answer wakes the task, then the task is cancelled before it runs: the connection is in the pool already."""
    for count in range(1, 40, 2):
        task = asyncio.create_task(transport.handle_async_request(post(upstream)))
        await settled(lambda: upstream.request_count, count)
        await settled(lambda: transport.idle_connections, 1)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert await exchange(transport, post(upstream)) == (200, b"ok")
    assert len(upstream.peers) == 1


class RandomCallers:
    """Callers who ask at random, then leave after a random number of turns of the loop."""

    def __init__(self, transport: OllamaTransport, upstream: RawUpstream, chance: random.Random) -> None:
        self.transport, self.upstream, self.chance = transport, upstream, chance

    async def answers(self, peer: Peer) -> None:
        while True:
            await peer.request()
            for _ in range(self.chance.randrange(4)):
                await asyncio.sleep(0)
            if self.chance.random() < 0.3:
                peer.say(OK)
                continue
            peer.say(CHUNKED)
            for _ in range(self.chance.randrange(5)):
                peer.say(chunk(b"record\n"))
                await asyncio.sleep(0)
            peer.say(b"0\r\n\r\n")

    async def ask(self, body: bytes) -> None:
        response = await self.transport.handle_async_request(post(self.upstream, body))
        try:
            await response.aread()
        finally:
            assert isinstance(response.stream, Reply)
            response.stream.abort()

    async def ask_then_leave(self) -> bool:
        body = bytes(300_000) if self.chance.random() < 0.05 else b"{}"
        task = asyncio.create_task(self.ask(body))
        for _ in range(self.chance.randrange(12)):
            await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            return False
        return True

    async def come_and_go(self, count: int) -> int:
        """How many of them were served."""
        return sum([await self.ask_then_leave() for _ in range(count)])


@pytest.mark.promise("S2")
@pytest.mark.parametrize("count", [2_000, pytest.param(10_000, marks=pytest.mark.full)])
async def test_random_cancels_at_random_awaits_lose_no_connection(
    transport: OllamaTransport, upstream: RawUpstream, count: int
) -> None:
    """httpx 0.28 on httpcore 1.0.9 loses its whole pool here, which is why this transport exists.

    The first version of this one counted connections from connection_made on. Cancelled between that and the return of
    create_connection, uvloop closes a socket without calling connection_lost: such connections stayed "open" for ever.
    """
    before = open_descriptors()
    callers = RandomCallers(transport, upstream, random.Random(7))
    upstream.script = callers.answers
    served = sum(await asyncio.gather(*(callers.come_and_go(count // 20) for _ in range(20))))
    assert 0 < served < count
    await settled(lambda: transport.open_connections - transport.idle_connections, 0)
    await serves_a_hundred(transport, upstream)
    await transport.aclose()
    await settled(lambda: transport.open_connections, 0)
    await settled(open_descriptors, before)
