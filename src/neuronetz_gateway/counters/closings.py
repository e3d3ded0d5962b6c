"""Ends of admissions on their way to Redis, kept until they arrive."""

import asyncio
from collections import deque
from functools import partial

from neuronetz_gateway.counters.admissions import Closing, RateCounters

_AT_ONCE = 500


class Closings:
    """Takes ends synchronously, sends each at once, repeats those whose outcome is unknown (closing is idempotent).

    At most `capacity` wait for Redis to come back; further ones are dropped, counted in `dropped`: their leases run
    out by themselves.
    """

    def __init__(
        self, counters: RateCounters, *, capacity: int = 10_000, retry_seconds: float = 0.25, flush_seconds: float = 2.0
    ) -> None:
        self._counters = counters
        self._capacity = capacity
        self._retry_seconds = retry_seconds
        self._flush_seconds = flush_seconds
        self._under_way: set[asyncio.Future[int]] = set()
        self._undelivered: deque[Closing] = deque()
        self._retrying: asyncio.Task[None] | None = None
        self._closed = False
        self.dropped = 0

    def __len__(self) -> int:
        """How many are not yet known to have arrived."""
        return len(self._under_way) + len(self._undelivered)

    def hand_over(self, closing: Closing) -> None:
        """Sends one end without waiting for it; never raises for what Redis does."""
        future = self._counters.close(closing)
        self._under_way.add(future)
        future.add_done_callback(partial(self._delivered, closing))

    async def aclose(self) -> None:
        """Delivers what is left, for at most `flush_seconds`; counts the rest as dropped. Nothing is repeated later."""
        try:
            async with asyncio.timeout(self._flush_seconds):
                while self._under_way or self._undelivered:
                    if self._under_way:
                        await asyncio.wait(self._under_way)
                    else:
                        await asyncio.sleep(self._retry_seconds)
                        self._send_again()
        except TimeoutError:
            self.dropped += len(self._undelivered)
        finally:
            self._closed = True
            self._undelivered.clear()
            if self._retrying is not None:
                self._retrying.cancel()

    def _delivered(self, closing: Closing, future: asyncio.Future[int]) -> None:
        self._under_way.discard(future)
        if not future.cancelled() and future.exception() is None:
            return
        if self._closed or len(self._undelivered) >= self._capacity:
            self.dropped += 1
            return
        self._undelivered.append(closing)
        if self._retrying is None or self._retrying.done():
            self._retrying = asyncio.create_task(self._retry(), name="closings-retry")

    async def _retry(self) -> None:
        while self._undelivered:
            await asyncio.sleep(self._retry_seconds)
            self._send_again()
            if self._under_way:
                await asyncio.wait(self._under_way)

    def _send_again(self) -> None:
        for _ in range(min(_AT_ONCE, len(self._undelivered))):
            self.hand_over(self._undelivered.popleft())
