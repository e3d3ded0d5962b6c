"""Who parses when, of those who wait for the lane."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable
from uuid import UUID

import pytest

from neuronetz_gateway.http.parsing_lane import ParsingLane

ONE, OTHER, THIRD = UUID(int=1), UUID(int=2), UUID(int=3)


class Gate:
    """Work that has begun, and ends when it may."""

    def __init__(self) -> None:
        self.begun, self.may_end = threading.Event(), threading.Event()

    def __call__(self) -> bool:
        self.begun.set()
        return self.may_end.wait(10)

    async def begins(self) -> None:
        assert await asyncio.to_thread(self.begun.wait, 10)


async def _asked(lane: ParsingLane, tenant: UUID, work: Callable[[], object]) -> asyncio.Task[object]:
    """Somebody who stands in line by now."""
    task = asyncio.create_task(lane.parsed(tenant, work))
    await asyncio.sleep(0)
    return task


async def test_tenants_take_turns_however_many_bodies_one_of_them_has() -> None:
    """One line for all had a tenant wait a minute behind a hundred bodies of another one."""
    lane, gate, order = ParsingLane(), Gate(), list[str]()
    first = await _asked(lane, ONE, gate)
    await gate.begins()
    crowd = [await _asked(lane, ONE, lambda name=f"one {number}": order.append(name)) for number in range(4)]  # type: ignore[misc]
    others = [
        await _asked(lane, tenant, lambda name=str(tenant.int): order.append(name))  # type: ignore[misc]
        for tenant in (OTHER, THIRD)
    ]
    gate.may_end.set()
    await asyncio.wait_for(asyncio.gather(first, *crowd, *others), 10)
    assert order == ["one 0", "2", "3", "one 1", "one 2", "one 3"]


async def test_who_leaves_during_the_parse_does_not_let_another_one_begin() -> None:
    """A thread cannot be cancelled: callers who left freed the lane, so that as many parsed at a time as there are
    threads, and the event loop got a seventh of the time."""
    lane, gate = ParsingLane(), Gate()
    left = await _asked(lane, ONE, gate)
    await gate.begins()
    next_one = await _asked(lane, OTHER, lambda: "next")
    left.cancel()
    done, _ = await asyncio.wait([left, next_one], timeout=0.2)  # that the next one does not begin cannot be awaited
    assert done == {left}
    gate.may_end.set()
    assert await asyncio.wait_for(next_one, 10) == "next"


async def test_who_leaves_the_line_is_passed_over() -> None:
    lane, gate = ParsingLane(), Gate()
    first = await _asked(lane, ONE, gate)
    await gate.begins()
    left = [await _asked(lane, tenant, lambda: "left") for tenant in (ONE, ONE, OTHER)]
    last = await _asked(lane, THIRD, lambda: "last")
    for task in left:
        task.cancel()
    gate.may_end.set()
    assert [await asyncio.wait_for(task, 10) for task in (first, last)] == [True, "last"]
    assert await asyncio.wait_for(lane.parsed(OTHER, lambda: "later"), 10) == "later"


async def test_who_leaves_at_the_moment_of_its_turn_gives_it_on() -> None:
    lane, gate = ParsingLane(), Gate()
    first = await _asked(lane, ONE, gate)
    await gate.begins()
    left, last = await _asked(lane, OTHER, lambda: "left"), await _asked(lane, THIRD, lambda: "last")
    gate.may_end.set()
    await first
    lane._leave()  # what a timer would do, with nothing run in between
    left.cancel()
    assert await asyncio.wait_for(last, 10) == "last"
    assert (await asyncio.gather(left, return_exceptions=True))[0].__class__ is asyncio.CancelledError


async def test_a_refused_body_frees_the_lane_and_is_let_go() -> None:
    """The refusal's traceback held the frame that held the refusal: a circle around megabytes, until a collection."""

    class Body:
        pass

    lane, kept = ParsingLane(), list[weakref.ref[Body]]()

    async def ask() -> None:
        body = Body()
        kept.append(weakref.ref(body))

        def refuse() -> None:
            raise ValueError(f"no JSON: {type(body)}")

        with pytest.raises(ValueError, match="no JSON"):
            await asyncio.wait_for(lane.parsed(ONE, refuse), 10)

    gc.disable()
    try:
        for _ in range(2):
            await ask()
        await asyncio.sleep(0.05)
        assert [reference() for reference in kept] == [None, None]
    finally:
        gc.enable()
