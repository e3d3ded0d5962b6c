"""Group commit by itself, over a store that the test holds in its hands."""

import asyncio

import pytest

from neuronetz_gateway.db.group_commit import BatchDataError, GroupCommit, UnknownOutcomeError
from neuronetz_gateway.errors import OverloadedError


class Store:
    """Commits numbers when it is let; odd behaviour by request."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.error: Exception | None = None

    async def commit(self, batch: list[int]) -> list[int]:
        self.batches.append(batch)
        await self.open.wait()
        if self.error:
            raise self.error
        if any(number < 0 for number in batch):
            raise BatchDataError("negative")
        return [number * 10 for number in batch]


async def test_a_batch_is_what_arrived_while_the_last_was_committing() -> None:
    store = Store()
    group = GroupCommit(store.commit, name="test", max_batch=3)
    store.open.clear()
    first = group.submit(1)
    await asyncio.sleep(0)
    others = [group.submit(number) for number in (2, 3, 4, 5)]
    assert group.pending == 5
    store.open.set()
    assert await asyncio.gather(first, *others) == [10, 20, 30, 40, 50]
    assert store.batches == [[1], [2, 3, 4], [5]]
    assert group.pending == 0


async def test_an_item_at_fault_fails_alone() -> None:
    store = Store()
    group = GroupCommit(store.commit, name="test")
    futures = [group.submit(number) for number in (1, 2, -3, 4, 5, 6, -7, 8)]
    results = await asyncio.gather(*futures, return_exceptions=True)
    assert [result for result in results if isinstance(result, int)] == [10, 20, 40, 50, 60, 80]
    assert isinstance(results[2], BatchDataError)
    assert isinstance(results[6], BatchDataError)


async def test_a_lost_connection_fails_the_whole_batch_and_nobody_after_it() -> None:
    store = Store()
    group = GroupCommit(store.commit, name="test")
    store.error = UnknownOutcomeError("lost", session="s")
    results = await asyncio.gather(*(group.submit(n) for n in (1, 2)), return_exceptions=True)
    assert all(isinstance(result, UnknownOutcomeError) for result in results)
    store.error = None
    assert await group.submit(3) == 30


async def test_whoever_leaves_while_the_batch_is_under_way_disturbs_nothing() -> None:
    store = Store()
    unclaimed: list[tuple[int, int]] = []
    group = GroupCommit(store.commit, name="test", unclaimed=lambda item, verdict, _: unclaimed.append((item, verdict)))
    store.open.clear()
    leaving, staying = group.submit(1), group.submit(2)
    await asyncio.sleep(0)
    leaving.cancel()
    store.open.set()
    assert await staying == 20
    assert unclaimed == [(1, 10)]


async def test_whoever_leaves_before_the_batch_is_made_is_never_committed() -> None:
    store = Store()
    group = GroupCommit(store.commit, name="test")
    store.open.clear()
    first = group.submit(1)
    await asyncio.sleep(0)
    group.submit(2).cancel()
    third = group.submit(3)
    store.open.set()
    await asyncio.gather(first, third)
    assert store.batches == [[1], [3]]


async def test_the_queue_is_bounded() -> None:
    store = Store()
    group = GroupCommit(store.commit, name="test", max_queued=2)
    store.open.clear()
    futures = [group.submit(1), group.submit(2)]
    with pytest.raises(OverloadedError):
        group.submit(3)
    store.open.set()
    await asyncio.gather(*futures)


async def test_drain_waits_for_what_comes_meanwhile() -> None:
    store = Store()
    group = GroupCommit(store.commit, name="test")
    store.open.clear()
    group.submit(1)
    draining = asyncio.create_task(group.drain())
    await asyncio.sleep(0)
    group.submit(2)
    store.open.set()
    await draining
    assert store.batches == [[1], [2]]


@pytest.mark.parametrize("started", [True, False])
async def test_stopping_leaves_nobody_waiting(started: bool) -> None:
    store = Store()
    group = GroupCommit(store.commit, name="test")
    store.open.clear()
    futures = [group.submit(1)]
    if started:
        await asyncio.sleep(0)
    futures.append(group.submit(2))
    await group.stop()
    results = await asyncio.gather(*futures, return_exceptions=True)
    assert [type(result) for result in results] == [UnknownOutcomeError] * 2
    assert group.pending == 0
