"""Keeps the metrics of the gateway's own state fresh, apart from any request."""

from collections.abc import Callable

from neuronetz_gateway.db.database import Database
from neuronetz_gateway.observability.loop_lag import LoopLag
from neuronetz_gateway.observability.metrics import Metrics
from neuronetz_gateway.services.budgeting import BudgetLedger
from neuronetz_gateway.services.overview import Overview
from neuronetz_gateway.settings import Settings

_STATEMENT_TIMEOUT_SECONDS = 10.0  # a hundred thousand budgets take a fraction of a second


class SelfObserver:
    """Watches the event loop all the time, looks into the database for whoever scrapes. `clock` is monotonic."""

    def __init__(
        self, settings: Settings, metrics: Metrics, ledger: BudgetLedger, *, clock: Callable[[], float]
    ) -> None:
        vitals = metrics.vitals
        database = Database(
            settings.database_url.get_secret_value(),
            pool_size=1,
            connect_timeout_seconds=settings.database_connect_timeout_s,
            statement_timeout_seconds=_STATEMENT_TIMEOUT_SECONDS,
            lock_timeout_seconds=settings.database_lock_timeout_s,
        )
        self.overview = Overview(database, vitals, clock=clock, happened=metrics.happened)

        def look() -> None:
            vitals.settlements_wait(ledger.settlements_waiting)
            metrics.flush()

        self._loop_lag, self._flush = LoopLag(vitals.loop_was_late, also=look, clock=clock), metrics.flush

    async def start(self) -> None:
        """Begins to watch the loop that runs."""
        await self._loop_lag.start()

    async def aclose(self) -> None:
        """Ends both. Does nothing if it was never started."""
        await self._loop_lag.aclose()
        self._flush()
        await self.overview.aclose()
