"""The one lane in which large request bodies are parsed."""

import asyncio
from collections import deque
from collections.abc import Callable
from uuid import UUID


class ParsingLane:
    """One body at a time, in a thread, then none for as long as that took; of those that wait each tenant in turn.

    Much of a parser cannot be interrupted, so that the event loop stands still meanwhile: half of the time is its own,
    however many bodies wait. In turn, since one tenant alone may have more than a hundred of them here.
    """

    def __init__(self) -> None:
        self._busy = False
        self._waiting: dict[UUID, deque[asyncio.Future[None]]] = {}  # by tenant, whoever is next first

    async def parsed[T](self, tenant_id: UUID, work: Callable[[], T]) -> T:
        """What `work` makes of a body; the lane is free once the thread is, not when a caller leaves it alone."""
        await self._enter(tenant_id)
        loop = asyncio.get_running_loop()
        began = loop.time()
        parsing = loop.run_in_executor(None, work)
        parsing.add_done_callback(lambda _: loop.call_later(loop.time() - began, self._leave))
        try:
            return await asyncio.shield(parsing)
        finally:
            del parsing  # it holds a refusal whose traceback holds this frame: a circle around megabytes of body

    async def _enter(self, tenant_id: UUID) -> None:
        if not self._busy:
            self._busy = True
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(tenant_id, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # it was its turn already
                self._leave()
            raise

    def _leave(self) -> None:
        """Let the next one in; whoever has left meanwhile is passed over."""
        while self._waiting:
            tenant_id = next(iter(self._waiting))
            turns = self._waiting.pop(tenant_id)
            turn = turns.popleft()
            if turns:
                self._waiting[tenant_id] = turns  # behind the other tenants
            if not turn.done():
                turn.set_result(None)
                return
        self._busy = False
