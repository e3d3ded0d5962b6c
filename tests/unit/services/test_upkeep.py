"""Chores: each at its own pace, none ended by a failure."""

import asyncio
from collections import Counter

from neuronetz_gateway.errors import UnavailableError
from neuronetz_gateway.services.upkeep import Chore, Upkeep


class Work:
    """Counts how often it is done; fails the first time, hangs for ever where it is told to."""

    def __init__(self, error: Exception | None = None, *, hangs: bool = False) -> None:
        self.done = 0
        self.begun = asyncio.Event()
        self._error = error
        self._hangs = hangs

    async def __call__(self) -> None:
        self.done += 1
        self.begun.set()
        if self._hangs:
            await asyncio.Event().wait()
        if self.done == 1 and self._error is not None:
            raise self._error


async def _until(work: Work, times: int) -> None:
    async with asyncio.timeout(10):
        while work.done < times:
            await asyncio.sleep(0.005)


async def test_each_chore_is_done_again_and_again_also_after_failures() -> None:
    events: Counter[str] = Counter()
    fine, away, odd = Work(), Work(UnavailableError("away")), Work(RuntimeError("nobody thought of this"))
    hanging = Work(hangs=True)
    chores = (
        Chore("fine", fine, 0.02, 10),
        Chore("away", away, 10, 0.02),  # after a failure it is its other time that counts
        Chore("odd", odd, 10, 0.02),
        Chore("hanging", hanging, 0.02, 0.02),
    )
    upkeep = Upkeep(
        chores, jitter=lambda: 0.0, close_within_seconds=0.05, happened=lambda event: events.update([event])
    )
    await upkeep.start()
    await _until(fine, 3)
    await _until(away, 2)
    await _until(odd, 2)
    await upkeep.aclose()
    assert events == {"away_failed": 1, "odd_failed": 1}
    assert (away.done, odd.done, hanging.done) == (2, 2, 1)
    done = fine.done
    await asyncio.sleep(0.05)
    assert fine.done == done


async def test_the_last_chore_is_done_at_the_end_whatever_becomes_of_it() -> None:
    work, last = Work(), Work(UnavailableError("away"))
    upkeep = Upkeep([Chore("work", work, 10, 10)], last=Chore("last", last, 10, 10), jitter=lambda: 0.0)
    await upkeep.aclose()
    assert last.done == 0  # it was never started
    await upkeep.start()
    await asyncio.wait_for(work.begun.wait(), 10)
    await upkeep.aclose()
    await upkeep.aclose()
    assert last.done == 1


async def test_what_is_being_done_may_end_then_rests() -> None:
    """Cut off in the middle of closing its connection, a chore left that open for ever."""
    rested = Work()
    going_on, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        going_on.set()
        await asyncio.sleep(0.05)
        ended.set()

    upkeep = Upkeep([Chore("work", work, 10, 10, rested)], jitter=lambda: 0.0)
    await upkeep.start()
    await asyncio.wait_for(going_on.wait(), 10)
    await upkeep.aclose()
    assert ended.is_set()
    assert rested.done == 2  # behind the work, once more at the end


async def test_an_end_that_hangs_is_given_up() -> None:
    last = Chore("last", Work(hangs=True), 10, 10)
    upkeep = Upkeep([Chore("work", Work(), 10, 10)], last=last, jitter=lambda: 0.0, close_within_seconds=0.05)
    await upkeep.start()
    async with asyncio.timeout(10):
        await upkeep.aclose()
