"""Reading the audit log of every tenant, for operators."""

from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import replace

from neuronetz_gateway.db.reporting import ReportingDatabase
from neuronetz_gateway.domain.api_key import PREFIX_LENGTH
from neuronetz_gateway.repositories.audit_rows import AuditFilter, AuditRow, AuditRows
from neuronetz_gateway.repositories.unit_of_work import UnitOfWork


class AuditReader:
    """Every method raises NotFoundError for an unknown name or prefix, UnavailableError while Postgres is away.

    `tenant` is a name, `key` a prefix; the ids of `wanted` need not be set.
    """

    def __init__(self, reporting: ReportingDatabase) -> None:
        self._reporting = reporting

    async def newest(
        self, wanted: AuditFilter, *, limit: int, tenant: str | None = None, key: str | None = None
    ) -> list[AuditRow]:
        """The newest rows first."""
        async with self._reporting.snapshot() as connection:
            named = await _named(UnitOfWork(connection), wanted, tenant, key)
            return await AuditRows(connection).newest(named, limit)

    async def export(
        self,
        wanted: AuditFilter,
        write: Callable[[Sequence[AuditRow]], None],
        *,
        tenant: str | None = None,
        key: str | None = None,
        expecting: Callable[[int | None], None] = lambda _rows: None,
    ) -> int:
        """Hands over all rows of one moment, the oldest first, some at a time; how many those were.

        `expecting` is told before about how many there will be, None where that is not known.
        """
        async with self._reporting.snapshot() as connection:
            named = await _named(UnitOfWork(connection), wanted, tenant, key)
            rows, count = AuditRows(connection), 0
            expecting(await rows.estimate() if named.wants_all else None)
            async with aclosing(rows.stream(named)) as parts:
                async for part in parts:
                    write(part)
                    count += len(part)
            return count


async def _named(uow: UnitOfWork, wanted: AuditFilter, tenant: str | None, key: str | None) -> AuditFilter:
    if tenant is not None:
        wanted = replace(wanted, tenant_id=(await uow.tenants.get_by_name(tenant)).id)
    if key is not None:
        # A whole key given as its prefix must not come back in a message.
        found = await uow.api_keys.get_by_prefix(key[:PREFIX_LENGTH])
        wanted = replace(wanted, tenant_id=found.tenant_id, api_key_id=found.id)  # the index knows tenants
    return wanted
