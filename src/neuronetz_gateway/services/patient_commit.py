"""Group commit for what must be written down, however long Postgres is away."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from neuronetz_gateway.db.group_commit import BatchDataError, GroupCommit, NotCommittedError, UnknownOutcomeError
from neuronetz_gateway.errors import OverloadedError

_log = structlog.get_logger(__name__)
_FIRST_RETRY_SECONDS = 0.05
_LONGEST_RETRY_SECONDS = 1.0
_LOG_EVERY = 1000  # losses come in thousands or not at all


class PatientCommit[Item, Verdict]:
    """Repeats a batch until Postgres has answered; `commit` must be idempotent.

    Items wait in a bounded queue. One that no longer fits, or that Postgres will not have, is lost: counted as the
    event `{name}_lost`, logged, then left to recovery.
    """

    def __init__(
        self,
        commit: Callable[[list[Item]], Awaitable[Sequence[Verdict]]],
        *,
        name: str,
        max_queued: int,
        happened: Callable[[str], None],
    ) -> None:
        self._commit = commit
        self._name = name
        self._happened = happened
        self._group = GroupCommit(self._repeat, name=name, max_queued=max_queued)
        self._lost = 0
        self._stopped = False

    @property
    def pending(self) -> int:
        """How many items are not written down yet."""
        return self._group.pending

    @property
    def lost(self) -> int:
        """How many items never will be."""
        return self._lost

    def post(self, item: Item) -> None:
        """Hands an item over for good; synchronous, never raises."""
        if self._stopped:
            self._lose("stopped")
            return
        try:
            future = self._group.submit(item)
        except OverloadedError:
            self._lose("queue full")
        else:
            future.add_done_callback(self._written)

    def submit(self, item: Item) -> asyncio.Future[Verdict]:
        """Hands an item over for its verdict. Raises OverloadedError where the queue is full."""
        return self._group.submit(item)

    async def drain(self) -> None:
        """Returns when all is written down."""
        await self._group.drain()

    async def stop(self) -> None:
        """Takes nothing more; what is not written down by now is lost."""
        self._stopped = True
        await self._group.stop()

    def _written(self, future: asyncio.Future[Verdict]) -> None:
        if not future.cancelled() and (error := future.exception()) is not None:
            self._lose(f"{type(error).__name__}: {error}", always=isinstance(error, BatchDataError))

    def _lose(self, reason: str, *, always: bool = False) -> None:
        self._lost += 1
        self._happened(f"{self._name}_lost")
        if always or self._lost % _LOG_EVERY == 1:
            _log.error(f"{self._name}_lost", reason=reason, lost=self._lost)

    async def _repeat(self, batch: list[Item]) -> Sequence[Verdict]:
        delay_seconds = 0.0
        while True:
            try:
                verdicts = await self._commit(batch)
            except (NotCommittedError, UnknownOutcomeError) as error:
                if not delay_seconds:
                    _log.warning(f"{self._name}_waits_for_postgres", error=str(error))
                delay_seconds = min(max(delay_seconds * 2, _FIRST_RETRY_SECONDS), _LONGEST_RETRY_SECONDS)
                await asyncio.sleep(delay_seconds)
            else:
                if delay_seconds:
                    _log.warning(f"{self._name}_goes_on", pending=self.pending)
                return verdicts
