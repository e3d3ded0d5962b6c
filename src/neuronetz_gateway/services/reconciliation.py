"""Holding what budgets say was used against what the audit log says was charged."""

from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from neuronetz_gateway.db.reporting import ReportingDatabase
from neuronetz_gateway.domain.conservation import TwiceWritten, WindowSums
from neuronetz_gateway.repositories.conservation import Conservation
from neuronetz_gateway.repositories.unit_of_work import UnitOfWork

_MOST_NAMED = 1_000


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What was found at one moment; the windows themselves are handed over one by one.

    Of differences and of ids that ended twice at most 1,000 each are named; differing_windows counts all.
    """

    at: datetime
    windows: int
    differing_windows: int
    differences: tuple[WindowSums, ...]
    twice_written: tuple[TwiceWritten, ...]

    @property
    def is_balanced(self) -> bool:
        return not self.differing_windows and not self.twice_written


class Reconciliation:
    """Sums in Postgres, in one snapshot: what is under way is in it whole or not at all."""

    def __init__(self, reporting: ReportingDatabase) -> None:
        self._reporting = reporting

    async def reconcile(self, tenant: str | None, take: Callable[[WindowSums], None]) -> Reconciled:
        """Hands each window over, of every tenant or of the one that is named, in the order of tenants.

        Raises NotFoundError for an unknown name, UnavailableError while Postgres is away.
        """
        async with self._reporting.snapshot() as connection:
            tenant_id: UUID | None = None
            if tenant is not None:
                tenant_id = (await UnitOfWork(connection).tenants.get_by_name(tenant)).id
            sums = Conservation(connection)
            at, windows, differing, named = await sums.moment(), 0, 0, list[WindowSums]()
            async with aclosing(sums.windows(tenant_id)) as found:
                async for window in found:
                    windows += 1
                    take(window)
                    if not window.is_balanced:
                        differing += 1
                        named += [window][: _MOST_NAMED - len(named)]
            twice = await sums.twice_written(tenant_id, _MOST_NAMED)
        return Reconciled(at, windows, differing, tuple(named), tuple(twice))
