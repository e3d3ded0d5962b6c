"""How many bytes of large request bodies one process holds at a time."""

import asyncio
from collections import Counter
from collections.abc import Callable
from uuid import UUID

from neuronetz_gateway.errors import OverloadedError


class BodyRoom:
    """Room for `limit_bytes` of bodies, refused at once to whoever asks for more: nobody waits for it.

    A tenant may hold no more than it leaves free: one alone gets a half, of two each a third, and whoever comes next
    still finds some. (A. Choudhury, E. Hahne, "Dynamic queue length thresholds", 1998, with a factor of 1.) What
    belongs to a body in memory is a small multiple of its bytes (PROMISES O2).
    """

    def __init__(self, limit_bytes: int) -> None:
        self._lane = asyncio.Semaphore()
        self._free_bytes = limit_bytes
        self._held_bytes: Counter[UUID] = Counter()

    @property
    def held_bytes(self) -> int:
        return self._held_bytes.total()

    async def parsed[T](self, work: Callable[[], T]) -> T:
        """What `work` makes of a large body, in a thread: one at a time, then none for as long as that took.

        Much of a parser cannot be interrupted, so that the event loop stands still meanwhile; half of the time is its
        own, however many large bodies wait. The lane is free once the thread is, not when a caller leaves it alone.
        """
        await self._lane.acquire()
        loop = asyncio.get_running_loop()
        began = loop.time()
        parsing = loop.run_in_executor(None, work)
        parsing.add_done_callback(lambda _: loop.call_later(loop.time() - began, self._lane.release))
        return await asyncio.shield(parsing)

    def share(self, tenant_id: UUID) -> "BodyShare":
        """What one request of a tenant will hold; nothing yet."""
        return BodyShare(self, tenant_id)

    def take(self, tenant_id: UUID, count_bytes: int) -> None:
        """Raises OverloadedError where the tenant would then hold more than is left."""
        held, free = self._held_bytes[tenant_id] + count_bytes, self._free_bytes - count_bytes
        if held > free:
            raise OverloadedError("Too many large request bodies are being read (MAX_BODIES_BYTES).")
        self._held_bytes[tenant_id], self._free_bytes = held, free

    def give_back(self, tenant_id: UUID, count_bytes: int) -> None:
        self._free_bytes += count_bytes
        self._held_bytes[tenant_id] -= count_bytes
        if not self._held_bytes[tenant_id]:
            del self._held_bytes[tenant_id]


class BodyShare:
    """The part of the room that one request holds."""

    def __init__(self, room: BodyRoom, tenant_id: UUID) -> None:
        self._room = room
        self._tenant_id = tenant_id
        self._held_bytes = 0

    def grow_to(self, size_bytes: int) -> None:
        """Holds so much in all, or raises OverloadedError and holds what it had."""
        if size_bytes > self._held_bytes:
            self._room.take(self._tenant_id, size_bytes - self._held_bytes)
            self._held_bytes = size_bytes

    def release(self) -> None:
        """Gives all of it back; more than once does no harm."""
        held, self._held_bytes = self._held_bytes, 0
        if held:
            self._room.give_back(self._tenant_id, held)
