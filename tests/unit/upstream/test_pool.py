"""Which connections are lent again."""

import asyncio
import socket
import time

import httpx
import pytest

from neuronetz_gateway.upstream.transport import OllamaTransport
from tests.unit.upstream.raw_upstream import OK, Peer, RawUpstream, exchange, get, post, settled


class Clock:
    def __init__(self) -> None:
        self.ahead_seconds = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead_seconds


async def test_an_idle_connection_that_the_upstream_closes_leaves_the_pool_at_once(
    transport: OllamaTransport, upstream: RawUpstream
) -> None:
    await upstream.says(OK, then_close=True)
    for count in (1, 2, 3):
        assert await exchange(transport, post(upstream)) == (200, b"ok")
        await settled(lambda: transport.open_connections, 0)
        assert transport.idle_connections == 0
        assert len(upstream.peers) == count


async def test_an_idle_connection_that_the_upstream_resets_leaves_the_pool_at_once(
    transport: OllamaTransport, upstream: RawUpstream
) -> None:
    await exchange(transport, post(upstream))
    upstream.peers[0].reset()
    await settled(lambda: transport.idle_connections, 0)
    assert await exchange(transport, post(upstream)) == (200, b"ok")


async def test_a_request_that_was_written_is_not_written_again(
    transport: OllamaTransport, upstream: RawUpstream
) -> None:
    """The upstream may have begun to generate: only the caller may decide to ask again."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.say(OK)
        await peer.request()

    upstream.script = script
    assert await exchange(transport, post(upstream)) == (200, b"ok")
    with pytest.raises(httpx.RemoteProtocolError):
        await exchange(transport, post(upstream))
    assert upstream.request_count == 2
    assert len(upstream.peers) == 1


async def test_bytes_on_an_idle_connection_close_it(transport: OllamaTransport, upstream: RawUpstream) -> None:
    await exchange(transport, post(upstream))
    upstream.peers[0].say(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
    await settled(lambda: transport.open_connections, 0)
    assert transport.idle_connections == 0
    assert await exchange(transport, post(upstream)) == (200, b"ok")


async def test_an_expired_connection_is_not_lent(upstream: RawUpstream) -> None:
    clock = Clock()
    async with OllamaTransport(idle_expiry_seconds=30, clock=clock) as transport:
        await exchange(transport, post(upstream))
        clock.ahead_seconds = 29
        await exchange(transport, post(upstream))
        assert len(upstream.peers) == 1
        clock.ahead_seconds = 60
        await exchange(transport, post(upstream))
        assert len(upstream.peers) == 2
        await settled(lambda: transport.open_connections, 1)


async def test_an_idle_connection_closes_by_itself(upstream: RawUpstream) -> None:
    async with OllamaTransport(idle_expiry_seconds=0.05) as transport:
        await exchange(transport, post(upstream))
        await asyncio.wait_for(upstream.peers[0].gone.wait(), 3)
        await settled(lambda: transport.open_connections, 0)
        assert transport.idle_connections == 0


async def test_the_connection_used_last_is_lent_first(transport: OllamaTransport, upstream: RawUpstream) -> None:
    await asyncio.gather(*(exchange(transport, post(upstream)) for _ in range(3)))
    before = [len(peer.requests) for peer in upstream.peers]
    for _ in range(5):
        await exchange(transport, post(upstream))
    added = [len(peer.requests) - earlier for peer, earlier in zip(upstream.peers, before, strict=True)]
    assert sorted(added) == [0, 0, 5]


async def test_no_more_than_the_allowed_number_stays_idle(upstream: RawUpstream) -> None:
    async with OllamaTransport(max_idle_connections=2) as transport:
        await asyncio.gather(*(exchange(transport, post(upstream)) for _ in range(10)))
        assert transport.idle_connections == 2
        await settled(lambda: transport.open_connections, 2)


async def test_origins_do_not_share_connections(transport: OllamaTransport, upstream: RawUpstream) -> None:
    async with RawUpstream() as other:
        await exchange(transport, post(upstream))
        await exchange(transport, post(other))
        assert len(upstream.peers) == len(other.peers) == 1
        assert transport.idle_connections == 2


async def test_closing_ends_idle_connections_as_well_as_running_exchanges(upstream: RawUpstream) -> None:
    transport = OllamaTransport()
    await exchange(transport, post(upstream))
    await upstream.says()
    waiting = asyncio.gather(*(transport.handle_async_request(get(upstream)) for _ in range(3)), return_exceptions=True)
    await settled(lambda: len(upstream.peers), 3)
    await transport.aclose()
    assert all(isinstance(error, httpx.ReadError) for error in (await waiting)[1:])
    await settled(lambda: transport.open_connections, 0)
    assert transport.idle_connections == 0
    with pytest.raises(httpx.ConnectError):
        await transport.handle_async_request(get(upstream))
    await settled(lambda: transport.open_connections, 0)


async def test_nobody_listening_is_a_connect_error(transport: OllamaTransport) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(httpx.ConnectError):
        await transport.handle_async_request(httpx.Request("GET", f"http://127.0.0.1:{port}/"))


async def test_connections_do_not_wait_to_fill_packets(transport: OllamaTransport, upstream: RawUpstream) -> None:
    await exchange(transport, post(upstream))
    (connection,) = transport._pool._open
    raw_socket = connection._transport.get_extra_info("socket")
    assert raw_socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert raw_socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
