"""The shared time limit ends what it should, lets everything else pass."""

import asyncio

import pytest

from neuronetz_gateway.common_timer import CommonTimer
from neuronetz_gateway.http.time_limit import TimeLimit


async def test_what_takes_too_long_ends_with_a_timeout() -> None:
    timer = CommonTimer(0.02)
    with pytest.raises(TimeoutError), TimeLimit(timer):
        await asyncio.Event().wait()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)  # nothing of the cancellation is left


async def test_what_ends_in_time_is_left_alone() -> None:
    timer = CommonTimer(0.02)
    with TimeLimit(timer):
        await asyncio.sleep(0)
    await asyncio.sleep(0.05)


async def test_an_error_passes_as_it_is() -> None:
    with pytest.raises(KeyError), TimeLimit(CommonTimer(1)):
        raise KeyError


async def test_a_cancellation_by_somebody_else_passes_as_it_is() -> None:
    begun = asyncio.Event()

    async def work() -> None:
        with TimeLimit(CommonTimer(10)):
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_both_at_once_is_a_cancellation() -> None:
    limit = TimeLimit(CommonTimer(10))
    begun = asyncio.Event()

    async def work() -> None:
        with limit:
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await begun.wait()
    limit._end()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
