"""The requests of a tenant that were admitted lately, for rate limits that have to be rebuilt."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import BigInteger, Label, Table, cast, extract, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from neuronetz_gateway.db.tables import audit_log, budget_usage, reservations, tenants
from neuronetz_gateway.domain.audit import NO_REQUESTS, Outcome
from neuronetz_gateway.domain.budget import Period
from neuronetz_gateway.domain.rate_history import Bucket, OpenRequest, RateHistory

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_COUNTS_NOTHING = tuple(each.value for each in (Outcome.REFUSED, Outcome.NOT_FORWARDED, *NO_REQUESTS))


class AdmittedRequests:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def hold_back(self, tenant_id: UUID) -> None:
        """Lets nothing of the tenant be reserved or settled until the end of this transaction; waits for what is.

        Every reservation and settlement locks the usage row of the tenant's whole time, before it reads versions.
        """
        row = {
            "tenant_id": tenant_id,
            "scope_id": tenant_id,
            "period": Period.TOTAL.value,
            "window_start": _EPOCH,
        }
        await self._connection.execute(insert(budget_usage).values(row).on_conflict_do_nothing())
        usage = budget_usage.c
        await self._connection.execute(
            select(usage.used)
            .where(usage.scope_id == tenant_id, usage.period == Period.TOTAL.value, usage.window_start == _EPOCH)
            .with_for_update()
        )

    async def fence_off(self, tenant_id: UUID) -> int | None:
        """Makes every principal of the tenant stale, so that what was admitted with one can no longer be reserved.

        The tenant's new version, None where there is no such tenant.
        """
        statement = (
            update(tenants)
            .where(tenants.c.id == tenant_id)
            .values(version=tenants.c.version + 1)
            .returning(tenants.c.version)
        )
        version: int | None = await self._connection.scalar(statement)
        return version

    async def history(self, tenant_id: UUID, *, since: datetime) -> RateHistory:
        """What was admitted at or after `since` and counts, with all that is open; read it while holding back."""
        ended = await self._ended(tenant_id, since)
        statement = select(
            reservations.c.id, reservations.c.api_key_id, _second(reservations), reservations.c.estimated
        ).where(reservations.c.tenant_id == tenant_id)
        under_way = (await self._connection.execute(statement)).all()
        return RateHistory(
            buckets=(*ended, *(Bucket(row.api_key_id, row.second, 1, row.estimated) for row in under_way)),
            open_requests=tuple(OpenRequest(row.id, row.api_key_id) for row in under_way),
        )

    async def _ended(self, tenant_id: UUID, since: datetime) -> list[Bucket]:
        log = audit_log.c
        second = _second(audit_log)
        statement = (
            select(log.api_key_id, second, func.count().label("requests"), func.sum(log.charged_tokens).label("tokens"))
            .where(
                log.tenant_id == tenant_id,
                log.admitted_at >= since,
                # as in audit_log.py: spares the partitions of earlier days
                log.recorded_on >= since.astimezone(UTC).date() - timedelta(days=1),
                log.outcome.not_in(_COUNTS_NOTHING),
                log.api_key_id.is_not(None),
            )
            .group_by(log.api_key_id, second)
        )
        rows = (await self._connection.execute(statement)).all()
        return [Bucket(row.api_key_id, row.second, row.requests, int(row.tokens)) for row in rows]


def _second(table: Table) -> Label[int]:
    """The second of the epoch in which a row was admitted, as the counters reckon it."""
    return cast(func.floor(extract("epoch", table.c.admitted_at)), BigInteger).label("second")
