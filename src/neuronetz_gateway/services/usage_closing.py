"""Usage is summed up once a day is over, so that showing it need not read every row of the audit log."""

from collections.abc import Callable
from datetime import date

from neuronetz_gateway.db.database import Database
from neuronetz_gateway.repositories.unit_of_work import unit_of_work


class UsageClosing:
    """Sums up the days that are over, a transaction each; every process may try, one does it.

    `database` should wait briefly for locks, long for statements. `happened` counts usage_days_closed.
    """

    def __init__(self, database: Database, *, happened: Callable[[str], None] = lambda _event: None) -> None:
        self._database = database
        self._happened = happened

    async def round(self) -> list[date]:
        """The days that were summed up, each for those tenants that lacked it. Raises UnavailableError."""
        closed = []
        while (day := await self._close()) is not None:
            closed.append(day)
            self._happened("usage_days_closed")
        return closed

    async def _close(self) -> date | None:
        async with unit_of_work(self._database) as uow:
            return await uow.usage_sums.close_day()
