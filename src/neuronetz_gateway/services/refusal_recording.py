"""Writing refusals down, however many there are."""

import asyncio
from collections.abc import Callable
from datetime import datetime

from neuronetz_gateway.domain.audit import RefusalEvent
from neuronetz_gateway.services.refusal_tally import RefusalTally

_AGAIN_SECONDS = 1.0  # until rows that Postgres has not taken are looked at once more


class RefusalRecorder:
    """Hands refusals to the ledger, one by one or, past what is worth a row each, counted together (RefusalTally).

    While more than `most_waiting` rows wait for Postgres nothing is added to them: all is counted then, over its minute
    too, so that an outage loses none in count. A process that is killed loses what it has counted: a minute at most,
    unless Postgres was away. `write` takes a row for good and never raises, `waiting` says how many it has not written
    yet; the clock is that of the events.
    """

    def __init__(
        self,
        tally: RefusalTally,
        write: Callable[[RefusalEvent], None],
        *,
        waiting: Callable[[], int],
        now: Callable[[], datetime],
        most_waiting: int = 2_000,
    ) -> None:
        self._tally = tally
        self._write = write
        self._waiting = waiting
        self._now = now
        self._most_waiting = most_waiting
        self._closed = False
        self._minutes: asyncio.Task[None] | None = None

    @property
    def counted(self) -> int:
        """How many rows are being counted together."""
        return len(self._tally)

    async def start(self) -> None:
        """From now on what was counted is written at the end of each minute."""
        self._minutes = asyncio.create_task(self._each_minute(), name="refusals-of-a-minute")

    async def aclose(self) -> None:
        """Writes what was counted; what comes later has a row each. The ledger must be open yet."""
        self._closed = True
        self._flush()
        if self._minutes is not None:
            self._minutes.cancel()
            await asyncio.wait([self._minutes])
            self._minutes = None

    def record(self, event: RefusalEvent, *, alone: bool = False) -> None:
        """Writes a refusal down or counts it; synchronous, never raises.

        alone: it must have a row of its own, since a reservation of the same id may turn up (DESIGN §5).
        """
        if self._closed or alone:
            self._write(event)
            return
        has_room = self._has_room()
        if has_room and self._tally.is_over(event.refused_at):
            self._flush()
        if has_room and self._tally.grants_own_row(event):
            self._write(event)
        else:
            self._tally.add(event)

    def _has_room(self) -> bool:
        return self._waiting() < self._most_waiting

    def _flush(self) -> None:
        for event in self._tally.take():
            self._write(event)

    async def _each_minute(self) -> None:
        while True:
            now = self._now()
            if not self._tally.is_over(now):
                await asyncio.sleep(self._tally.seconds_left(now))
            elif self._has_room():
                self._flush()
            else:
                await asyncio.sleep(_AGAIN_SECONDS)
