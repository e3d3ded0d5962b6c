"""Retention: days of the audit log that are old enough go, signed away before."""

from collections.abc import Callable
from datetime import date

import structlog

from neuronetz_gateway.db.database import Database
from neuronetz_gateway.errors import UnavailableError
from neuronetz_gateway.repositories.unit_of_work import unit_of_work
from neuronetz_gateway.services.audit_checkpoints import AuditCheckpoints

_log = structlog.get_logger(__name__)
_DAYS_AT_ONCE = 31


class AuditRetention:
    """Drops the days before today - `days`, each after a checkpoint that lists its chains and names it; 0 keeps all.

    `database` should wait briefly for locks (`tries` times a day, with pauses), long for statements: a day is summed up
    before it goes. `happened` counts audit_days_dropped.
    """

    def __init__(
        self,
        database: Database,
        checkpoints: AuditCheckpoints,
        *,
        days: int,
        tries: int = 20,
        happened: Callable[[str], None] = lambda _event: None,
    ) -> None:
        self._database = database
        self._checkpoints = checkpoints
        self._days = days
        self._tries = tries
        self._happened = happened
        self._signed_away: set[date] = set()

    async def round(self) -> list[date]:
        """The days that were dropped. Raises UnavailableError: a day that is read just now goes another time."""
        if self._days == 0:
            return []
        old = await self._old_days()
        if not old or not await self._sign_away(old):
            return []
        await self._emit()
        return [day for day in old if await self._drop(day)]

    async def _old_days(self) -> list[date]:
        async with unit_of_work(self._database) as uow:
            return await uow.audit_chains.days_before(kept=self._days, most=_DAYS_AT_ONCE)

    async def _sign_away(self, days: list[date]) -> bool:
        """Whether a checkpoint names all of them as dropped; False where another process is writing one."""
        new = [day for day in days if day not in self._signed_away]
        if new and await self._checkpoints.write(dropping=new, waiting=False) is None:
            return False
        self._signed_away.update(new)
        return True

    async def _emit(self) -> None:
        """The second sink hears of it first, if it can; one that cannot keeps nothing from being dropped."""
        try:
            await self._checkpoints.emit()
        except UnavailableError as error:
            _log.warning("checkpoint_not_sent", error=type(error.__cause__ or error).__name__)

    async def _drop(self, day: date) -> bool:
        async with unit_of_work(self._database) as uow:
            if not await uow.audit_chains.lock():
                return False
            rows = await uow.audit_chains.drop_day(day, self._tries)
        self._signed_away.discard(day)
        self._happened("audit_days_dropped")
        _log.info("audit_day_dropped", day=str(day), rows=rows)
        return True
