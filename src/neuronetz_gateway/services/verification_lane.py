"""The narrow lane in which Argon2id runs, off the event loop."""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from neuronetz_gateway.domain.api_key import PlainKey
from neuronetz_gateway.key_hashing import KeyHasher


class LaneFullError(Exception):
    """Every thread and every waiting place of the lane is taken."""


def lane_threads() -> int:
    """One thread fewer than this process has cores, at least one: more make Argon2id slower for all (DESIGN §3)."""
    return max(1, len(os.sched_getaffinity(0)) - 1 if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 2) - 1)


class VerificationLane:
    """Runs at most `threads` hashings at a time while at most `queue` wait; more are refused with LaneFullError.

    A caller who leaves does not free its place: the thread works on, so the place is free when the thread is.
    Verifications of one key against one hash that meet here share a single run.
    """

    def __init__(self, hasher: KeyHasher, *, threads: int, queue: int) -> None:
        self._hasher = hasher
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="argon2")
        self._places = threads + queue
        self._shared: dict[tuple[bytes, str], asyncio.Future[bool]] = {}
        self._running: set[asyncio.Future[Any]] = set()

    def is_full(self) -> bool:
        return len(self._running) >= self._places

    async def verify(self, name: bytes, key: PlainKey, secret_hash: str) -> bool:
        """Whether Argon2id agrees; `name` is the key's cache name. Raises LaneFullError or UnavailableError."""
        shared = self._shared.get((name, secret_hash))
        if shared is None:
            shared = self._enter(self._hasher.verify, key, secret_hash)
            self._shared[name, secret_hash] = shared
            shared.add_done_callback(lambda _: self._shared.pop((name, secret_hash)))
        return await asyncio.shield(shared)

    async def hash(self, key: PlainKey) -> str:
        """A fresh Argon2id hash of a key. Raises LaneFullError."""
        return await asyncio.shield(self._enter(self._hasher.hash, key))

    async def aclose(self) -> None:
        """Waits for what runs (milliseconds each), then ends the threads."""
        if self._running:
            await asyncio.wait(self._running)
        self._pool.shutdown(wait=False)

    def _enter[**P, T](self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        if self.is_full():
            raise LaneFullError
        future = asyncio.wrap_future(self._pool.submit(work, *args, **kwargs))
        self._running.add(future)
        future.add_done_callback(self._leave)
        return future

    def _leave(self, future: asyncio.Future[Any]) -> None:
        self._running.discard(future)
        if not future.cancelled():
            future.exception()  # looked at, so that a run whose callers have all left warns nobody
