"""What operators ask of the audit log, timed through the services."""

import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from bench.history_filling import Owner
from neuronetz_gateway.errors import UnavailableError
from neuronetz_gateway.repositories.audit_rows import AuditFilter
from neuronetz_gateway.wiring import Services

TIMES = 20
SHOWN = 50  # rows, as `audit list` shows without --limit
# Whoever is slower is asked less often.
_PATIENCE_SECONDS, _LEAST_TIMES = 30.0, 3
_ALL = AuditFilter()

type Ask = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Timing:
    """One query: None where it was ended by the time-out of a statement."""

    name: str
    median_ms: float | None
    slowest_ms: float | None
    times: int


async def timings(services: Services, hot: Owner, other: Owner, silent: Owner) -> list[Timing]:
    """Of the tenant with most rows, of one of the many, of one that never called."""
    asks = _usage(services, hot, other) | _lists(services, hot, other, silent)
    return [await _timed(name, ask) for name, ask in asks.items()]


def _usage(services: Services, hot: Owner, other: Owner) -> dict[str, Ask]:
    return {
        "show-usage --tenant, one of many": lambda: services.usage.of_tenant(other.name),
        "show-usage --tenant, the hot one": lambda: services.usage.of_tenant(hot.name),
        "show-usage --key, one of many": lambda: services.usage.of_key(other.prefix),
        "show-usage --key, the hot one": lambda: services.usage.of_key(hot.prefix),
    }


def _lists(services: Services, hot: Owner, other: Owner, silent: Owner) -> dict[str, Ask]:
    now = datetime.now(UTC)

    def newest(wanted: AuditFilter = _ALL, tenant: Owner | None = None, key: Owner | None = None) -> Ask:
        name, prefix = tenant.name if tenant else None, key.prefix if key else None
        return lambda: services.audit.newest(wanted, limit=SHOWN, tenant=name, key=prefix)

    return {
        "audit list": newest(),
        "audit list --tenant, one of many": newest(tenant=other),
        "audit list --tenant, the hot one": newest(tenant=hot),
        "audit list --tenant, one without rows": newest(tenant=silent),
        "audit list --key, one of many": newest(key=other),
        "audit list --outcome refused": newest(AuditFilter(outcome="refused")),
        "audit list --status 404": newest(AuditFilter(status=404)),
        "audit list --status 503, of which there is none": newest(AuditFilter(status=503)),
        "audit list --since 1h": newest(AuditFilter(since=now - timedelta(hours=1))),
        "audit list --tenant --since 7d, one of many": newest(AuditFilter(since=now - timedelta(days=7)), other),
        "audit list --request-id, one that is not there": newest(AuditFilter(request="no-such-request")),
    }


async def _timed(name: str, ask: Ask) -> Timing:
    """The first time is left out: it opens connections, reads from disk."""
    took: list[float] = []
    began = time.monotonic()
    try:
        await ask()
        while len(took) < TIMES and (len(took) < _LEAST_TIMES or time.monotonic() - began < _PATIENCE_SECONDS):
            start = time.perf_counter()
            await ask()
            took.append((time.perf_counter() - start) * 1e3)
    except UnavailableError:
        return Timing(name, None, None, len(took))
    return Timing(name, statistics.median(took), max(took), len(took))
