"""What Postgres says of itself and of the gateway's part of it."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_SERVER = text("""
    select clock_timestamp() as now, current_setting('server_version') as version,
           current_setting('server_version_num')::int as version_number, current_user as role,
           current_setting('fsync') = 'on' as fsync, current_setting('full_page_writes') = 'on' as full_page_writes,
           current_setting('synchronous_commit') as synchronous_commit,
           pg_is_in_recovery() or current_setting('transaction_read_only') = 'on' as read_only,
           to_regclass('alembic_version') is not null as migrated
""")
_REVISION = text("select version_num from alembic_version")
_RIGHTS = text("""
    select coalesce(string_agg(name, ', ' order by name), '') from unnest(array[
        'tenants', 'api_keys', 'budgets', 'budget_usage', 'reservations', 'audit_log', 'processes'
    ]) as name
    where to_regclass(name) is null
       or not has_table_privilege(to_regclass(name), 'select')
       or not has_table_privilege(to_regclass(name), 'insert')
""")
_DAYS_AHEAD = text("""
    select count(*) from generate_series(1, :most) as ahead
    where to_regclass('audit_log_' || to_char((now() at time zone 'UTC')::date + ahead::int, 'YYYYMMDD')) is not null
""")
_TODAY = text("select to_regclass('audit_log_' || to_char((now() at time zone 'UTC')::date, 'YYYYMMDD')) is not null")
_PROCESSES = text("""
    select count(*) filter (where heartbeat_at > now() - make_interval(secs => :seconds)) as alive,
           count(distinct host) filter (where heartbeat_at > now() - make_interval(secs => :seconds)) as hosts
    from processes where swept_at is null
""")
_ABANDONED = text("""
    select count(*) from reservations
    where process_id not in (
        select id from processes where swept_at is null and heartbeat_at > now() - make_interval(secs => :seconds)
    )
""")


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """The server: its clock, its version, how durable a commit is, whether it takes writes."""

    now: datetime
    version: str
    version_number: int
    role: str
    fsync: bool
    full_page_writes: bool
    synchronous_commit: str
    read_only: bool
    migrated: bool


class DatabaseFacts:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def server(self) -> ServerFacts:
        row = (await self._connection.execute(_SERVER)).one()
        return ServerFacts(**row._asdict())

    async def revision(self) -> str | None:
        """The revision of the schema; wants a database that was migrated once."""
        revision: str | None = await self._connection.scalar(_REVISION)
        return revision

    async def tables_without_rights(self) -> str:
        """The tables that the role cannot read or write, with commas between them."""
        return str(await self._connection.scalar(_RIGHTS) or "")

    async def days_ahead(self, most: int) -> int:
        """For how many of the coming days (UTC) the audit log has its partition; -1 where even today has none."""
        if not await self._connection.scalar(_TODAY):
            return -1
        return int(await self._connection.scalar(_DAYS_AHEAD, {"most": most}) or 0)

    async def processes(self, alive_seconds: float) -> tuple[int, int]:
        """How many gateway processes gave a sign of life within so long, on how many machines."""
        row = (await self._connection.execute(_PROCESSES, {"seconds": alive_seconds})).one()
        return int(row.alive), int(row.hosts)

    async def abandoned(self, dead_seconds: float) -> int:
        """How many reservations are held by processes without a sign of life for so long."""
        return int(await self._connection.scalar(_ABANDONED, {"seconds": dead_seconds}) or 0)
