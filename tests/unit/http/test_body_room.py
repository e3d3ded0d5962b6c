"""Who gets how much of the room for large bodies."""

import asyncio
import threading
from uuid import UUID

import pytest

from neuronetz_gateway.errors import OverloadedError
from neuronetz_gateway.http.body_room import BodyRoom

ONE, OTHER, THIRD = UUID(int=1), UUID(int=2), UUID(int=3)


def test_one_tenant_gets_a_half_so_that_another_finds_room() -> None:
    room = BodyRoom(120)
    hog = [room.share(ONE) for _ in range(3)]
    hog[0].grow_to(30)
    hog[1].grow_to(30)
    with pytest.raises(OverloadedError):
        hog[2].grow_to(1)
    room.share(OTHER).grow_to(30)
    with pytest.raises(OverloadedError):
        room.share(OTHER).grow_to(1)
    room.share(THIRD).grow_to(15)
    assert room.held_bytes == 105


def test_what_was_refused_holds_what_it_had_until_it_is_released() -> None:
    room = BodyRoom(100)
    share = room.share(ONE)
    share.grow_to(40)
    share.grow_to(50)
    share.grow_to(20)
    with pytest.raises(OverloadedError):
        share.grow_to(51)
    assert room.held_bytes == 50
    share.release()
    share.release()
    assert room.held_bytes == 0
    room.share(OTHER).grow_to(50)
    assert room.held_bytes == 50


async def test_who_leaves_during_the_parse_does_not_let_another_one_begin() -> None:
    """A thread cannot be cancelled: callers who left freed the lane, so that as many parsed at a time as there are
    threads, and the event loop got a seventh of the time."""
    room, began, may_end = BodyRoom(1), threading.Event(), threading.Event()

    def work() -> bool:
        began.set()
        return may_end.wait(10)

    left = asyncio.create_task(room.parsed(work))
    assert await asyncio.to_thread(began.wait, 10)
    next_one = asyncio.create_task(room.parsed(lambda: "next"))
    left.cancel()
    done, _ = await asyncio.wait([left, next_one], timeout=0.2)  # that the next one does not begin cannot be awaited
    assert done == {left}
    may_end.set()
    assert await asyncio.wait_for(next_one, 10) == "next"


async def test_a_refused_body_frees_the_lane() -> None:
    room = BodyRoom(1)

    def refuse() -> None:
        raise ValueError("no JSON")

    for _ in range(2):
        with pytest.raises(ValueError, match="no JSON"):
            await asyncio.wait_for(room.parsed(refuse), 10)
