"""Who gets how much of the room for large bodies."""

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
