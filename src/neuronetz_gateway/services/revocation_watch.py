"""Cutting the running answers of keys that are no more."""

import asyncio
from collections.abc import Callable
from uuid import UUID

import structlog

from neuronetz_gateway.db.database import Database
from neuronetz_gateway.errors import AnswerCutError, UnavailableError
from neuronetz_gateway.repositories.revocations import Loss
from neuronetz_gateway.repositories.unit_of_work import unit_of_work
from neuronetz_gateway.services.rate_limiting import RateLimiter

_log = structlog.get_logger(__name__)
_RETRY_SECONDS = 1.0
_WHY = {
    Loss.REVOKED: "this API key was revoked",
    Loss.DELETED: "this API key was deleted",
    Loss.SUSPENDED: "the tenant of this API key was suspended",
}


class RevocationWatch:
    """Asks Postgres every `heartbeat_seconds` which of the keys with running exchanges are gone (PROMISES A5).

    Nothing is asked while nothing runs. A new request needs none of this: the ledger refuses it (DESIGN §3). `happened`
    counts key_lost, with how many answers were cut.
    """

    def __init__(
        self,
        database: Database,
        limiter: RateLimiter,
        *,
        heartbeat_seconds: float = 5.0,
        happened: Callable[[str, int], None] = lambda _event, _count: None,
    ) -> None:
        self._database = database
        self._limiter = limiter
        self._heartbeat_seconds = heartbeat_seconds
        self._happened = happened
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begins to ask in the background."""
        self._task = asyncio.get_running_loop().create_task(self._go_on(), name="revocation-watch")

    async def aclose(self) -> None:
        """Asks no more. Does nothing if it was never started."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait([self._task])
        self._task = None

    async def look(self) -> int:
        """Cuts what runs for keys that are gone; how many answers that were. Raises UnavailableError."""
        running = {admission.api_key_id for admission in self._limiter.running}
        if not running:
            return 0
        async with unit_of_work(self._database) as uow:
            lost = await uow.revocations.find_lost(running)
        return sum(self._cut(key_id, why) for key_id, why in lost.items())

    def _cut(self, api_key_id: UUID, why: Loss) -> int:
        cut = self._limiter.cut(
            lambda admission: admission.api_key_id == api_key_id,
            lambda: AnswerCutError(f"The answer was cut: {_WHY[why]}."),
        )
        if cut:
            self._happened("key_lost", cut)
            _log.info("answers_cut", api_key_id=str(api_key_id), reason=why.value, answers=cut)
        return cut

    async def _go_on(self) -> None:
        pause_seconds = self._heartbeat_seconds
        while True:
            await asyncio.sleep(pause_seconds)
            pause_seconds = self._heartbeat_seconds
            try:
                await self.look()
            except UnavailableError as error:
                _log.warning("revocations_unknown", error=type(error.__cause__).__name__)
                pause_seconds = min(_RETRY_SECONDS, self._heartbeat_seconds)
            except Exception:  # noqa: BLE001 - with this over, nobody would cut what a revoked key runs
                _log.exception("revocation_watch_failed")
