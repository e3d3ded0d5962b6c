"""Many waits of one length behind one timer of the event loop."""

import asyncio
from collections.abc import Callable
from itertools import takewhile
from math import inf

_GRAIN_SECONDS = 0.001  # event loops count in whole milliseconds


class CommonTimer:
    """Calls back whoever has waited for `seconds`, to the millisecond.

    Nearly every wait is stopped long before its end. Started and stopped here it costs a place in a dictionary, where
    a timer of its own, set and cancelled, costs more than the parsing of a request.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._ends: dict[Callable[[], None], float] = {}  # the first to end stands first, since all are equally long
        self._armed_in: asyncio.AbstractEventLoop | None = None

    def start(self, ring: Callable[[], None]) -> None:
        """Begin a wait, which its callback names: one that is equal to it stops it."""
        loop = asyncio.get_running_loop()
        self._ends[ring] = loop.time() + self._seconds
        if self._armed_in is not loop:
            self._arm(loop)

    def stop(self, ring: Callable[[], None]) -> None:
        """End a wait without its callback; does nothing where it is over."""
        self._ends.pop(ring, None)

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        self._armed_in = loop
        loop.call_at(next(iter(self._ends.values())), self._ring, loop)

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        self._armed_in = None
        now = loop.time() + _GRAIN_SECONDS
        # Looked for once: asked for its first, a dictionary walks over all that was deleted before it, each time.
        over = [ring for ring, _ in takewhile(lambda entry: entry[1] <= now, self._ends.items())]
        try:
            for ring in over:
                if self._ends.get(ring, inf) <= now:  # else one before it has stopped it, or begun it anew
                    del self._ends[ring]
                    ring()
        finally:  # whatever one of them raised, the others are waiting
            if self._ends and self._armed_in is None:
                self._arm(loop)
