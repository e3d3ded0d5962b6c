"""How many bytes of request bodies one process holds at a time."""

from collections import Counter
from uuid import UUID

from neuronetz_gateway.errors import OverloadedError
from neuronetz_gateway.http.parsing_lane import ParsingLane


class BodyRoom:
    """Room for `limit_bytes` of bodies, refused at once to whoever asks for more: nobody waits for it.

    A tenant may hold no more than it leaves free: one alone gets a half, of two each a third, and whoever comes next
    still finds some. (A. Choudhury, E. Hahne, "Dynamic queue length thresholds", 1998, with a factor of 1.) What
    belongs to a body in memory is a small multiple of its bytes (PROMISES O2).
    """

    def __init__(self, limit_bytes: int) -> None:
        self.lane = ParsingLane()  # where what is heavy is parsed
        self._free_bytes = limit_bytes
        self._held_bytes: Counter[UUID] = Counter()

    @property
    def held_bytes(self) -> int:
        return self._held_bytes.total()

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
