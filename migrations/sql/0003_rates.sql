-- For rate limits in Redis that were lost: what a tenant was admitted for since a moment and counts, under a new version.
-- Every reservation and every settlement locks the usage row of the tenant's whole time before it reads versions or
-- reservations. Here that row is locked first, so what was being reserved is waited for, hence found. What has been
-- admitted but not reserved yet carries the old version, so it will be refused as stale.
-- The first row has the new version alone, none comes for a tenant that is not there; rows with an id are open requests,
-- the others sums by key and second of the epoch.
create function admitted_r1(tenant_id uuid, since timestamptz)
returns table (version integer, id uuid, api_key_id uuid, second bigint, requests bigint, tokens bigint)
language plpgsql as $$
#variable_conflict use_column
declare
  raised integer;
begin
  insert into budget_usage (tenant_id, scope_id, period, window_start, reserved)
    select t.id, t.id, 'total', to_timestamp(0), budget_open_r1(t.id, t.id, 'total', to_timestamp(0))
    from tenants t where t.id = admitted_r1.tenant_id
    on conflict do nothing;
  perform 1 from budget_usage u
    where (u.scope_id, u.period, u.window_start) = (admitted_r1.tenant_id, 'total', to_timestamp(0)) for update;
  update tenants t set version = t.version + 1 where t.id = admitted_r1.tenant_id returning t.version into raised;
  if raised is null then
    return;
  end if;
  return query
    select raised, null::uuid, null::uuid, null::bigint, null::bigint, null::bigint
    union all
    select null, r.id, r.api_key_id, floor(extract(epoch from r.admitted_at))::bigint, 1, r.estimated_tokens
    from reservations r where r.tenant_id = admitted_r1.tenant_id
    union all
    select null, null, a.api_key_id, floor(extract(epoch from a.admitted_at))::bigint as second, count(*),
           sum(a.charged_tokens)::bigint
    from audit_log a
    where a.tenant_id = admitted_r1.tenant_id and a.admitted_at >= since and a.api_key_id is not null
      and a.recorded_on >= (since at time zone 'UTC')::date - 1
      and a.outcome not in ('refused', 'not_forwarded', 'adjusted', 'noted')
    group by a.api_key_id, floor(extract(epoch from a.admitted_at))::bigint;
end $$
