"""Fills the audit log with rows of the past, in the shape that requests leave."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from neuronetz_gateway.db.connecting import connector
from neuronetz_gateway.settings import Settings

_PATIENT = {"statement_timeout": "0", "idle_in_transaction_session_timeout": "0", "synchronous_commit": "off"}
# Of a hundred requests 96 are completed, two refused, one left by its caller, one refused by the model server. The id
# is a version 7 UUID of the moment; day and month are the windows of a tenant in UTC. The hash has the length of one.
_DAY = """
insert into audit_log (id, recorded_on, tenant_id, api_key_id, request_id, endpoint, model, outcome, status,
                       prompt_tokens, output_tokens, charged_tokens, reserved_tokens, first_byte_ms, duration_ms,
                       admitted_at, address, user_agent, day, month, writer, sequence, hash)
select (lpad(to_hex((extract(epoch from a.at) * 1000)::bigint), 12, '0') || '7' || substr(a.noise, 1, 3) || '8'
        || substr(a.noise, 4, 15))::uuid,
       $1::date, ($2::uuid[])[a.owner], ($3::uuid[])[a.owner], a.noise, '/api/chat',
       (array['llama3.2:latest', 'qwen3:8b', 'gemma3:4b', 'mistral:latest', 'nomic-embed-text:latest'])[1 + a.n % 5],
       e.outcome, e.status, e.tokens, e.tokens, 2 * e.tokens, 4 * e.tokens,
       case when e.tokens > 0 then 40 end, case when e.tokens > 0 then 900 end, a.at, '192.0.2.' || a.n % 250,
       'openai-python/3.54', case when e.status <> 429 then date_trunc('day', a.at) end,
       case when e.status <> 429 then date_trunc('month', a.at) end, $8::uuid, a.n, sha256(a.noise::bytea)
from (select n, $4::timestamptz + ($5::timestamptz - $4::timestamptz) * (n::float8 / $6::integer) as at,
             md5($8::uuid::text || n) as noise,
             case when random() < $7::float8 then 1
                  else 2 + floor(random() * (cardinality($2::uuid[]) - 1))::integer end as owner
      from generate_series(1, $6::integer) n) a
cross join lateral (
  select case a.n % 100 when 0 then 'refused' when 1 then 'refused' when 2 then 'caller_left'
                        when 3 then 'upstream_refused' else 'completed' end as outcome,
         case a.n % 100 when 0 then 429 when 1 then 429 when 2 then 499 when 3 then 404 else 200 end as status,
         case when a.n % 100 < 2 or a.n % 100 = 3 then 0 else 20 + a.n % 400 end as tokens) e
"""
_HEAD = """
insert into audit_heads (writer, day, sequence, hash)
select writer, recorded_on, sequence, hash from audit_log where recorded_on = $1 and writer = $2
order by sequence desc limit 1
"""


@dataclass(frozen=True, slots=True)
class Owner:
    """A tenant with its one key."""

    name: str
    tenant_id: UUID
    api_key_id: UUID
    prefix: str


async def fill(settings: Settings, owners: Sequence[Owner], *, rows: int, days: int, hot_share: float) -> int:
    """Spreads the rows evenly over the last days up to now, `hot_share` of them the first owner's; how many there are.

    The chains of these rows are no chains: audit verify would say so.
    """
    connection: Any = await connector(
        settings.database_url.get_secret_value(), connect_timeout_seconds=10, server_settings=_PATIENT
    )()
    try:
        if rows:
            await _fill(connection, owners, rows, days, hot_share)
            await connection.execute("vacuum (analyze) audit_log")
            await _close(connection)
        return int(await connection.fetchval("select count(*) from audit_log"))
    finally:
        await connection.close()


async def _fill(connection: Any, owners: Sequence[Owner], rows: int, days: int, hot_share: float) -> None:
    end = datetime.now(UTC)
    start, began, made = end - timedelta(days=days), time.monotonic(), 0
    await connection.execute("select audit_log_ensure_partitions($1, $2)", start.date(), days + 1)
    tenants, keys = [owner.tenant_id for owner in owners], [owner.api_key_id for owner in owners]
    for day in (start.date() + timedelta(days=number) for number in range(days + 1)):
        first, last = max(start, _midnight(day)), min(end, _midnight(day + timedelta(days=1)))
        count, writer = round(rows * ((last - start) / (end - start))) - made, uuid4()
        await connection.execute(_DAY, day, tenants, keys, first, last, count, hot_share, writer)
        await connection.execute(_HEAD, day, writer)
        made += count
        print(f"{day}: {made:,} rows, {made / (time.monotonic() - began):,.0f}/s", flush=True)


async def _close(connection: Any) -> None:
    """Sums up all days that are over, as the gateway does night by night; those of before there were rows anew."""
    began, closed = time.monotonic(), 0
    await connection.execute("delete from usage_closed")
    await connection.execute("update tenants set created_at = (select min(admitted_at) from audit_log)")
    while await connection.fetchval("select usage_close_day_r1()"):
        closed += 1
    await connection.execute("vacuum (analyze) usage_days")
    rows, seconds = await connection.fetchval("select count(*) from usage_days"), time.monotonic() - began
    print(f"{closed} days summed up in {seconds:.1f} s: {rows:,} rows of usage_days", flush=True)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
