"""The sums by which budgets and the audit log are held against each other, grouped by Postgres."""

from collections.abc import AsyncGenerator
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from neuronetz_gateway.domain.conservation import TwiceWritten, WindowSums

_AT_ONCE = 1_000

# Rows of before 0003 name no windows: audit_window_r1 finds them. Rows are summed by day before they are spread over
# the six windows, since there are millions of them.
_SUMS = text("""
with charged as (
  select a.tenant_id, a.api_key_id, coalesce(a.day, audit_window_r1(a.tenant_id, 'daily', a.admitted_at)) as day,
         coalesce(a.month, audit_window_r1(a.tenant_id, 'monthly', a.admitted_at)) as month,
         sum(a.charged_tokens) as tokens, count(*) as requests
  from audit_log a
  where a.tenant_id is not null and a.outcome not in ('refused', 'noted')
    and (cast(:tenant_id as uuid) is null or a.tenant_id = :tenant_id)
  group by 1, 2, 3, 4
), held as (
  select r.tenant_id, r.api_key_id, r.day, r.month, sum(r.reserved) as tokens, count(*) as open,
         min(r.admitted_at) as oldest
  from reservations r where cast(:tenant_id as uuid) is null or r.tenant_id = :tenant_id group by 1, 2, 3, 4
), sides as (
  select u.tenant_id, u.scope_id, u.period, u.window_start, u.used, 0 as charged, 0 as carried, u.reserved, 0 as held,
         0 as open, null::timestamptz as oldest, 0 as requests
  from budget_usage u
  union all
  select c.tenant_id, w.scope_id, w.period, w.window_start, 0, c.tokens, 0, 0, 0, 0, null, c.requests
  from charged c cross join lateral budget_windows_r1(c.tenant_id, c.api_key_id, c.day, c.month) w
  union all
  select c.tenant_id, c.scope_id, c.period, c.window_start, 0, 0, c.charged, 0, 0, 0, null, 0 from audit_carried c
  union all
  select h.tenant_id, w.scope_id, w.period, w.window_start, 0, 0, 0, 0, h.tokens, h.open, h.oldest, 0
  from held h cross join lateral budget_windows_r1(h.tenant_id, h.api_key_id, h.day, h.month) w
), sums as (
  select tenant_id, scope_id, period, window_start, sum(used) as used, sum(charged) as charged,
         sum(carried) as carried, sum(reserved) as reserved, sum(held) as held, sum(open) as open,
         min(oldest) as oldest, sum(requests) as requests
  from sides
  where scope_id is not null and (cast(:tenant_id as uuid) is null or tenant_id = :tenant_id)
  group by 1, 2, 3, 4
)
select s.*, t.name as tenant, k.prefix as key
from sums s left join tenants t on t.id = s.tenant_id left join api_keys k on k.id = s.scope_id
order by t.name, s.tenant_id, s.scope_id <> s.tenant_id, k.prefix, s.scope_id, s.period, s.window_start
""")
# A refusal may stand beside the reservation of the same request for the moment until that is released (DESIGN §5).
_TWICE = text("""
select a.id, count(*) as rows, false as is_open from audit_log a
where cast(:tenant_id as uuid) is null or a.tenant_id = :tenant_id
group by a.id having count(*) > 1
union all
select r.id, count(*), true from reservations r join audit_log a on a.id = r.id
where a.outcome <> 'refused' and (cast(:tenant_id as uuid) is null or r.tenant_id = :tenant_id)
group by r.id
limit :most
""")


class Conservation:
    """Asked within one snapshot, whose transactions are whole: so the sums agree under load too."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def moment(self) -> datetime:
        """When the snapshot was taken, by the clock of Postgres."""
        moment: datetime = (await self._connection.execute(text("select now()"))).scalar_one()
        return moment

    async def windows(self, tenant_id: UUID | None) -> AsyncGenerator[WindowSums, None]:
        """Every window of every scope, or of those of one tenant, by tenant, then scope, then period."""
        statement = _SUMS.execution_options(yield_per=_AT_ONCE)
        async with self._connection.stream(statement, {"tenant_id": tenant_id}) as result:
            async for row in result:
                of_key = row.scope_id != row.tenant_id
                yield WindowSums(
                    tenant_id=row.tenant_id,
                    tenant=row.tenant,
                    key_id=row.scope_id if of_key else None,
                    key=row.key if of_key else None,
                    period=row.period,
                    window_start=row.window_start,
                    used_tokens=int(row.used),
                    charged_tokens=int(row.charged),
                    carried_tokens=int(row.carried),
                    reserved_tokens=int(row.reserved),
                    held_tokens=int(row.held),
                    open=int(row.open),
                    oldest_open_at=row.oldest,
                    requests=int(row.requests),
                )

    async def twice_written(self, tenant_id: UUID | None, most: int) -> list[TwiceWritten]:
        """Ids that ended twice, `most` at most."""
        rows = await self._connection.execute(_TWICE, {"tenant_id": tenant_id, "most": most})
        return [TwiceWritten(row.id, int(row.rows), row.is_open) for row in rows]
