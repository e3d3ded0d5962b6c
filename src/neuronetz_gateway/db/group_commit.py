"""Commits items in groups: a batch is what arrived while the last one was being committed."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from neuronetz_gateway.errors import OverloadedError


class BatchDataError(Exception):
    """Something in the batch itself is at fault; nothing of it was committed."""


class NotCommittedError(Exception):
    """The batch was certainly not committed; the batch is not at fault."""


class UnknownOutcomeError(Exception):
    """The batch may have been committed, or may be yet; `session` names the server's session that has it."""

    def __init__(self, message: str, *, session: str) -> None:
        super().__init__(message)
        self.session = session


class GroupCommit[Item, Verdict]:
    """One batch under way at a time, no timer: alone an item leaves at once, under load the batches grow (SPEED).

    `commit` gives one verdict an item, in order. A batch that it refuses with BatchDataError is halved until the items
    at fault stand alone; any other error is the whole batch's. Whoever waits may leave: the batch goes on, and
    `unclaimed` is told of each verdict whose future was done by then. An item whose future is done before its batch
    was made is never committed.
    """

    def __init__(
        self,
        commit: Callable[[list[Item]], Awaitable[Sequence[Verdict]]],
        *,
        name: str,
        max_batch: int = 256,
        max_queued: int = 10_000,
        unclaimed: Callable[[Item, Verdict, asyncio.Future[Verdict]], None] | None = None,
    ) -> None:
        self._commit = commit
        self._name = name
        self._max_batch = max_batch
        self._max_queued = max_queued
        self._unclaimed = unclaimed
        self._queue: deque[tuple[Item, asyncio.Future[Verdict]]] = deque()
        self._under_way = 0
        self._runner: asyncio.Task[None] | None = None

    @property
    def pending(self) -> int:
        """How many items have no verdict yet."""
        return len(self._queue) + self._under_way

    def submit(self, item: Item) -> asyncio.Future[Verdict]:
        """Hands an item over, synchronously. Raises OverloadedError where too many wait already."""
        if len(self._queue) >= self._max_queued:
            raise OverloadedError("Too many requests wait for the database.")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Verdict] = loop.create_future()
        self._queue.append((item, future))
        if self._runner is None:
            self._runner = loop.create_task(self._run(), name=f"group-commit {self._name}")
        return future

    async def drain(self) -> None:
        """Returns when nothing is queued or under way; cancelling it disturbs nothing."""
        while self._runner is not None:
            await asyncio.wait([self._runner])

    async def stop(self) -> None:
        """Gives up whatever has no verdict: UnknownOutcomeError for all who wait."""
        runner = self._runner
        if runner is not None:
            runner.cancel()
            await asyncio.wait([runner])
        self._runner = None
        _fail(list(self._queue), _stopped())
        self._queue.clear()

    async def _run(self) -> None:
        batch: list[tuple[Item, asyncio.Future[Verdict]]] = []
        try:
            while batch := self._take():
                self._under_way = len(batch)
                await self._commit_batch(batch)
                self._under_way = 0
        except asyncio.CancelledError:
            _fail(batch, _stopped())
            raise
        finally:
            self._under_way = 0
            self._runner = None

    def _take(self) -> list[tuple[Item, asyncio.Future[Verdict]]]:
        batch: list[tuple[Item, asyncio.Future[Verdict]]] = []
        while self._queue and len(batch) < self._max_batch:
            entry = self._queue.popleft()
            if not entry[1].done():
                batch.append(entry)
        return batch

    async def _commit_batch(self, batch: list[tuple[Item, asyncio.Future[Verdict]]]) -> None:
        try:
            verdicts = await self._commit([item for item, _ in batch])
            if len(verdicts) != len(batch):
                raise RuntimeError(f"{len(verdicts)} verdicts for {len(batch)} items")  # noqa: TRY301 - one way out
        except BatchDataError as error:
            if len(batch) == 1:
                _fail(batch, error)
                return
            middle = len(batch) // 2
            await self._commit_batch(batch[:middle])
            await self._commit_batch(batch[middle:])
        except Exception as error:  # noqa: BLE001 - handed to everybody who waits, so that none waits for ever
            _fail(batch, error)
        else:
            for (item, future), verdict in zip(batch, verdicts, strict=True):
                if not future.done():
                    future.set_result(verdict)
                elif self._unclaimed is not None:
                    self._unclaimed(item, verdict, future)


def _fail[Item, Verdict](batch: list[tuple[Item, asyncio.Future[Verdict]]], error: Exception) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)


def _stopped() -> UnknownOutcomeError:
    return UnknownOutcomeError("stopped before the outcome was known", session="")
