"""How late the loop is told, tick by tick."""

import asyncio
import time
from itertools import pairwise

import uvloop

from neuronetz_gateway.observability.loop_lag import LoopLag

_EVERY_SECONDS = 0.02


class Told(list[float]):
    """What a LoopLag has told, which can be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self._more = asyncio.Event()

    def __call__(self, seconds: float) -> None:
        self.append(seconds)
        self._more.set()

    async def has(self, count: int) -> None:
        while len(self) < count:
            self._more.clear()
            await self._more.wait()


async def ticks(lag: LoopLag, told: Told, count: int) -> None:
    async with asyncio.timeout(5):
        await told.has(count)
    await lag.aclose()


async def block_and_tell() -> list[float]:
    told = Told()
    lag = LoopLag(told, every_seconds=_EVERY_SECONDS, clock=time.monotonic)
    await lag.start()
    time.sleep(0.2)  # noqa: ASYNC251 - what must never happen in a loop is what is to be seen
    await ticks(lag, told, 12)
    return told


def test_a_call_that_blocks_the_loop_is_seen_once_for_each_tick_that_it_held_up() -> None:
    for factory in (asyncio.new_event_loop, uvloop.new_event_loop):
        with asyncio.Runner(loop_factory=factory) as runner:
            told = runner.run(block_and_tell())
        assert 0.15 < told[0] < 1.0, told
        late = [seconds for seconds in told if seconds > _EVERY_SECONDS]
        assert len(late) >= 7, told  # of the nine ticks within 0.18 s
        assert all(before > after for before, after in pairwise(late)), told


async def test_a_loop_with_nothing_to_do_is_in_time_and_what_is_also_to_be_done_is_done() -> None:
    told = Told()
    also: list[int] = []
    lag = LoopLag(told, every_seconds=_EVERY_SECONDS, also=lambda: also.append(1), clock=time.monotonic)
    await lag.start()
    await ticks(lag, told, 5)
    assert min(told) < 0.01
    assert all(seconds >= 0 for seconds in told)
    assert 1 <= len(also) <= len(told)


async def test_after_its_end_it_ticks_no_more() -> None:
    told = Told()
    lag = LoopLag(told, every_seconds=_EVERY_SECONDS, clock=time.monotonic)
    await lag.aclose()  # never started
    await lag.start()
    await ticks(lag, told, 1)
    before = len(told)
    await asyncio.sleep(_EVERY_SECONDS * 3)
    assert len(told) == before


async def test_a_machine_that_slept_has_not_millions_of_ticks_to_tell() -> None:
    told = Told()
    now = [0.0]
    lag = LoopLag(told, every_seconds=_EVERY_SECONDS, clock=lambda: now[0])
    await lag.start()
    now[0] = 86_400.0
    await ticks(lag, told, 1)
    assert told[0] == 86_400.0 - _EVERY_SECONDS
    assert len(told) <= 101


async def test_a_tick_that_failed_is_followed_by_the_next_one() -> None:
    """With one failure of what is also to be done the ticks ended: nobody handed over what requests count up."""
    told = Told()
    failures: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context["exception"]))

    def fails() -> None:
        raise OSError("no space left")

    lag = LoopLag(told, every_seconds=_EVERY_SECONDS, also=fails, clock=time.monotonic)
    await lag.start()
    await ticks(lag, told, 3)
    assert len(failures) >= 2
