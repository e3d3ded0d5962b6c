"""A body handed on within the calls that bring it."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from neuronetz_gateway.upstream.reply import Reply
from neuronetz_gateway.upstream.transport import OllamaTransport
from tests.unit.upstream.raw_upstream import CHUNKED, Peer, RawUpstream, chunk, exchange, post, settled

_PIECES = [b"%d\n" % number for number in range(5)]
_END = b"0\r\n\r\n"


class Source:
    """A connection that nobody reads."""

    def __init__(self) -> None:
        self.resumed = 0
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True

    def resume_reading(self) -> None:
        self.resumed += 1


class Taken:
    """Takes pieces; `agrees` says whether with each that is all."""

    def __init__(self, agrees: Callable[[bytes], bool] = lambda _: True) -> None:
        self.pieces: list[bytes] = []
        self.tasks: set[asyncio.Task[Any] | None] = set()
        self.agrees = agrees

    def __call__(self, piece: bytes) -> bool:
        self.pieces.append(piece)
        self.tasks.add(asyncio.current_task())
        return self.agrees(piece)


async def waiting(reply: Reply, taken: Taken) -> asyncio.Task[bool]:
    task = asyncio.create_task(reply.hand_to(taken))
    await asyncio.sleep(0)
    return task


def arrives(reply: Reply, piece: bytes) -> None:
    reply.body += piece
    reply.arrived()


async def test_each_piece_is_taken_within_the_call_that_brings_it() -> None:
    source, taken = Source(), Taken()
    reply = Reply(source)
    task = await waiting(reply, taken)
    for piece in _PIECES:
        arrives(reply, piece)
        assert taken.pieces[-1] == piece
    assert task not in taken.tasks  # it was not woken for any of them
    assert source.resumed == len(_PIECES)  # each made room
    reply.complete = True
    reply.release()
    assert await task is True


async def test_a_lot_at_once_is_left_to_the_next_turn_of_the_event_loop() -> None:
    """A stream that had megabytes to catch up with was read, metered and written 32 reads a turn: 3 ms in which nobody
    else was served, where 8 KiB had made room for the others before."""
    taken = Taken()
    reply = Reply(Source())
    task = await waiting(reply, taken)
    reply.body += b"much"
    reply.arrived(at_once=False)
    assert taken.pieces == []
    await asyncio.sleep(0)
    assert taken.pieces == [b"much"]
    arrives(reply, b"little")
    assert taken.pieces == [b"much", b"little"]
    reply.complete = True
    reply.release()
    assert await task is True


async def test_what_was_there_before_anybody_waited_comes_first() -> None:
    taken = Taken()
    reply = Reply(Source())
    arrives(reply, b"a")
    arrives(reply, b"b")
    task = await waiting(reply, taken)
    arrives(reply, b"c")
    reply.body += b"d"
    reply.complete = True
    reply.release()
    assert await task is True
    assert taken.pieces == [b"ab", b"c", b"d"]


async def test_after_a_no_the_rest_waits_until_it_is_asked_for() -> None:
    taken = Taken(lambda piece: piece != b"b")
    reply = Reply(Source())
    task = await waiting(reply, taken)
    for piece in (b"a", b"b", b"c", b"d"):
        arrives(reply, piece)
    assert await task is False
    assert taken.pieces == [b"a", b"b"]
    reply.complete = True
    assert await reply.hand_to(taken) is True
    assert taken.pieces == [b"a", b"b", b"cd"]


async def test_a_no_to_what_was_there_already_ends_it_at_once() -> None:
    taken = Taken(lambda _: False)
    reply = Reply(Source())
    arrives(reply, b"a")
    assert await reply.hand_to(taken) is False


async def test_a_break_behind_a_no_is_told_by_the_next_call() -> None:
    """The piece that was not agreed to is still to be sent: it must not be lost to what happened after it."""
    taken = Taken(lambda _: False)
    reply = Reply(Source())
    task = await waiting(reply, taken)
    arrives(reply, b"a")
    reply.fail(httpx.ReadError, "lost")
    assert await task is False
    assert taken.pieces == [b"a"]
    with pytest.raises(httpx.ReadError):
        await reply.hand_to(taken)


async def test_what_taking_raises_comes_out_where_it_is_waited_for() -> None:
    def broken(_: bytes) -> bool:
        raise ValueError

    reply = Reply(Source())
    task = await waiting(reply, Taken(broken))
    arrives(reply, b"a")
    arrives(reply, b"b")  # is not offered to what is broken
    with pytest.raises(ValueError):  # noqa: PT011 - the very one
        await task
    assert reply.body == b"b"


async def test_who_was_cancelled_is_handed_nothing_more() -> None:
    source, taken = Source(), Taken()
    reply = Reply(source)
    task = await waiting(reply, taken)
    arrives(reply, b"a")
    task.cancel()
    arrives(reply, b"b")
    with pytest.raises(asyncio.CancelledError):
        await task
    arrives(reply, b"c")
    assert taken.pieces == [b"a"]
    assert source.aborted


@pytest.mark.promise("S3")
async def test_a_stream_is_handed_on_whole_and_its_connection_serves_on(
    transport: OllamaTransport, upstream: RawUpstream
) -> None:
    async def script(peer: Peer) -> None:
        for _ in range(2):
            await peer.request()
            peer.say(CHUNKED + b"".join(chunk(piece) for piece in _PIECES) + _END)

    taken = Taken()
    upstream.script = script
    response = await transport.handle_async_request(post(upstream))
    assert isinstance(response.stream, Reply)
    assert await response.stream.hand_to(taken) is True
    assert b"".join(taken.pieces) == b"".join(_PIECES)
    assert (await exchange(transport, post(upstream)))[1] == b"".join(_PIECES)
    assert len(upstream.peers) == 1


@pytest.mark.promise("S3")
async def test_a_stream_that_breaks_off_is_told_after_all_that_came(
    transport: OllamaTransport, upstream: RawUpstream
) -> None:
    taken = Taken()

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.say(CHUNKED + chunk(b"one\n"))
        await settled(lambda: len(taken.pieces), 1)
        peer.say(chunk(b"two\n"))
        peer.writer.close()

    upstream.script = script
    response = await transport.handle_async_request(post(upstream))
    assert isinstance(response.stream, Reply)
    with pytest.raises(httpx.RemoteProtocolError):
        await response.stream.hand_to(taken)
    assert b"".join(taken.pieces) == b"one\ntwo\n"
    await settled(lambda: transport.open_connections, 0)
