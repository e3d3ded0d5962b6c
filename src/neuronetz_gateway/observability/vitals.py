"""How the gateway itself is doing, apart from any request."""

from typing import Final

from prometheus_client import CollectorRegistry, Gauge, Histogram

_LAG_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)
_COMMIT_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_REPLY_SECONDS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)
# What one worker finds out holds for all: of several the last one to look is right.
_LAST_LOOK: Final = "livemostrecent"


class Vitals:
    """Observed per batch, per tick or per look, never per request."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._loop_lag = Histogram(
            "neuronetz_loop_lag_seconds",
            "How late the event loop came to a timer.",
            buckets=_LAG_SECONDS,
            registry=registry,
        )
        self._commits = Histogram(
            "neuronetz_ledger_seconds",
            "One commit of a batch to Postgres, failed ones too.",
            ["operation"],
            buckets=_COMMIT_SECONDS,
            registry=registry,
        )
        self._replies = Histogram(
            "neuronetz_redis_seconds",
            "One call to Redis, of those under way at once the first.",
            buckets=_REPLY_SECONDS,
            registry=registry,
        )
        self._settlements_waiting = Gauge(
            "neuronetz_settlements_waiting",
            "Settlements that Postgres has not taken yet.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self._dependencies = Gauge(
            "neuronetz_dependency_up",
            "Whether a dependency answered when it was last asked, by /readyz or by a scrape.",
            ["dependency"],
            multiprocess_mode=_LAST_LOOK,
            registry=registry,
        )
        self._budgets = Gauge(
            "neuronetz_budgets",
            "Budgets of which so many percent or more are used or reserved.",
            ["period", "used_percent"],
            multiprocess_mode=_LAST_LOOK,
            registry=registry,
        )
        self._unsigned = Gauge(
            "neuronetz_audit_unsigned_seconds",
            "The age of the last audit checkpoint while rows wait for the next one; 0 where none wait.",
            multiprocess_mode=_LAST_LOOK,
            registry=registry,
        )

    def loop_was_late(self, seconds: float) -> None:
        self._loop_lag.observe(seconds)

    def committed(self, operation: str, seconds: float) -> None:
        """One batch to Postgres; operation is reserve, settle or refuse."""
        self._commits.labels(operation).observe(seconds)

    def redis_answered(self, seconds: float) -> None:
        self._replies.observe(seconds)

    def settlements_wait(self, count: int) -> None:
        self._settlements_waiting.set(count)

    def dependency_found(self, name: str, up: bool) -> None:
        self._dependencies.labels(name).set(up)

    def budgets_found(self, period: str, used_percent: int, count: int) -> None:
        self._budgets.labels(period, str(used_percent)).set(count)

    def audit_unsigned(self, seconds: float) -> None:
        self._unsigned.set(seconds)
