"""How late the event loop comes to what is due, measured by a timer of its own."""

import asyncio
from collections.abc import Callable

_MOST_AT_ONCE = 100  # a machine that slept has missed thousands, none of which anybody waited for


class LoopLag:
    """Ticks every `every_seconds`, tells `late` by how many seconds each tick missed its moment.

    A loop that was held up over several ticks has them all told, each with its own wait: else one long stall would
    count no more than one on-time tick, and a quantile would hide it. `also` is called at each tick, for what is to be
    looked at as often. Timers of the loop have a grain of 1 ms. `clock`
    is monotonic, in seconds; not the loop's own, which uvloop reads once a turn.
    """

    def __init__(
        self,
        late: Callable[[float], None],
        *,
        every_seconds: float = 0.1,
        also: Callable[[], None] = lambda: None,
        clock: Callable[[], float],
    ) -> None:
        self._late = late
        self._every_seconds = every_seconds
        self._also = also
        self._clock = clock
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0

    async def start(self) -> None:
        """Begins to tick in the running loop."""
        self._arm()

    async def aclose(self) -> None:
        """Ends the ticks. Does nothing if it was never started."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        self._due = self._clock() + self._every_seconds
        self._timer = asyncio.get_running_loop().call_later(self._every_seconds, self._tick)

    def _tick(self) -> None:
        late_seconds = max(0.0, self._clock() - self._due)
        self._late(late_seconds)
        for _ in range(_MOST_AT_ONCE):
            late_seconds -= self._every_seconds
            if late_seconds <= 0:
                break
            self._late(late_seconds)
        try:
            self._also()
        finally:  # whatever it raised, the next tick is to come: with it comes what it could not do now
            self._arm()
