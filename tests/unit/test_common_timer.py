"""Many waits share one timer: each ends at its time, or never once it was stopped."""

import asyncio
from typing import Any

from neuronetz_gateway.common_timer import CommonTimer

_SECONDS = 0.02


async def test_a_wait_ends_when_its_time_is_over_but_not_before() -> None:
    rung = asyncio.Event()
    loop = asyncio.get_running_loop()
    began = loop.time()
    CommonTimer(_SECONDS).start(rung.set)
    async with asyncio.timeout(1):
        await rung.wait()
    assert loop.time() - began >= _SECONDS - 0.002


async def test_a_stopped_wait_never_ends_while_those_beside_it_do() -> None:
    stopped, first, last = asyncio.Event(), asyncio.Event(), asyncio.Event()
    timer = CommonTimer(_SECONDS)
    for ring in (first.set, stopped.set, last.set):
        timer.start(ring)
    timer.stop(stopped.set)
    async with asyncio.timeout(1):
        await first.wait()
        await last.wait()
    assert not stopped.is_set()


async def test_a_later_wait_gets_its_own_full_time() -> None:
    timer, loop = CommonTimer(_SECONDS), asyncio.get_running_loop()
    first, second = asyncio.Event(), asyncio.Event()
    timer.start(first.set)
    async with asyncio.timeout(1):
        await asyncio.sleep(_SECONDS / 2)
        began = loop.time()
        timer.start(second.set)
        await first.wait()
        assert not second.is_set()
        await second.wait()
    assert loop.time() - began >= _SECONDS - 0.002


async def test_a_callback_may_begin_the_next_wait() -> None:
    timer, again = CommonTimer(_SECONDS), asyncio.Event()
    timer.start(lambda: timer.start(again.set))
    async with asyncio.timeout(1):
        await again.wait()


async def test_one_that_ends_may_stop_or_begin_anew_those_that_end_with_it() -> None:
    timer, rung, last, second = CommonTimer(_SECONDS), list[str](), asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def stopped() -> None:
        rung.append("stopped")

    def again() -> None:
        rung.append("again")
        second.set()

    def first() -> None:
        rung.append("first")
        timer.stop(stopped)
        timer.stop(again)
        timer.start(again)

    began = loop.time()
    for ring in (first, stopped, again, last.set):
        timer.start(ring)
    async with asyncio.timeout(1):
        await last.wait()
        assert rung == ["first"]
        await second.wait()
    assert rung == ["first", "again"]
    assert loop.time() - began >= 2 * (_SECONDS - 0.002)


async def test_stopping_what_never_began_does_nothing() -> None:
    CommonTimer(_SECONDS).stop(asyncio.Event().set)


async def test_a_callback_that_raises_keeps_nobody_else_waiting() -> None:
    told: list[BaseException] = []

    def note(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        told.append(context["exception"])

    def broken() -> None:
        raise ZeroDivisionError

    asyncio.get_running_loop().set_exception_handler(note)
    timer, rung = CommonTimer(_SECONDS), asyncio.Event()
    timer.start(broken)
    timer.start(rung.set)
    async with asyncio.timeout(1):
        await rung.wait()
    assert [type(error) for error in told] == [ZeroDivisionError]


def test_a_loop_that_ended_does_not_take_the_next_one_along() -> None:
    timer = CommonTimer(_SECONDS)

    async def leave_waiting() -> None:
        timer.start(asyncio.Event().set)

    async def wait() -> None:
        rung = asyncio.Event()
        timer.start(rung.set)
        async with asyncio.timeout(1):
            await rung.wait()

    asyncio.run(leave_waiting())
    asyncio.run(wait())
