"""Schedules of faults: the same for the same seed, played in time."""

import asyncio
import itertools
import time

import pytest

from tests.support.fault_proxy import FaultProxy
from tests.support.schedules import FAULTS, Schedule, Step, random_schedule


def test_a_seed_is_a_schedule() -> None:
    assert str(random_schedule(5, 30)) == str(random_schedule(5, 30))
    assert str(random_schedule(5, 30)) != str(random_schedule(6, 30))


def test_each_dependency_has_its_faults_one_after_another_within_the_time() -> None:
    schedule = random_schedule(7, 30)
    for where in FAULTS:
        steps = [step for step in schedule.steps if step.where == where]
        assert len(steps) > 3
        for step, following in itertools.pairwise(steps):
            assert step.at_seconds + step.lasts_seconds < following.at_seconds
        assert steps[-1].at_seconds + steps[-1].lasts_seconds <= 30.001


def test_mostly_all_of_them_are_at_fault_at_once() -> None:
    held = dict.fromkeys(FAULTS, 0.0)
    for seed in range(20):
        for step in random_schedule(seed, 30).steps:
            held[step.where] += step.lasts_seconds
    assert all(0.5 < seconds / 600 < 0.8 for seconds in held.values())


@pytest.mark.alone
async def test_a_schedule_is_played_in_time_and_leaves_no_fault() -> None:
    async with FaultProxy("127.0.0.1", 1) as proxy:
        began, applied = time.monotonic(), asyncio.Event()

        def apply(to: FaultProxy) -> None:
            to.refuse()
            applied.set()

        schedule = Schedule(0, 0.8, (Step(0.1, 0.5, "redis", "refuse()", apply),))
        playing = asyncio.create_task(schedule.play({"redis": proxy}))
        await applied.wait()
        assert time.monotonic() - began >= 0.1
        assert await _refused(proxy)
        await playing
        assert not await _refused(proxy)
        assert time.monotonic() - began >= 0.8


async def _refused(proxy: FaultProxy) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    except ConnectionRefusedError:
        return True
    writer.close()
    return False
