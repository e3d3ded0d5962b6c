-- What was used, summed up once a day of the audit log is over: by the day (UTC) on which rows were recorded, by the day
-- of the tenant's time zone on which they count. Nothing is decided by it; budgets have sums of their own.
create table usage_days (
  tenant_id uuid not null references tenants on delete cascade,
  recorded_on date not null,
  local_day date not null,
  api_key_id uuid,
  model text not null,
  requests bigint not null,
  prompt_tokens bigint not null,
  output_tokens bigint not null,
  charged_tokens bigint not null
)
-- ;;
create index usage_days_tenant_id_local_day_idx on usage_days (tenant_id, local_day)
-- ;;
-- Which days of a tenant have been summed up: all that were recorded before this one.
create table usage_closed (
  tenant_id uuid primary key references tenants on delete cascade,
  before date not null
)
-- ;;
-- Sums up the earliest day that is over and not summed up yet for some tenant, for all such tenants; returns the day, or
-- null where there is none. Again for a day, the sums of before give way, so that "delete from usage_closed" has all that
-- the log still holds summed up anew. One at a time: a second caller finds nothing to do.
-- A day is over ten minutes past midnight (UTC): by then no statement runs that began in it. The lock proves it.
-- Tenants are locked before what is kept of them, as an update of a tenant does: its time zone stands still meanwhile.
create function usage_close_day_r1() returns date language plpgsql as $$
declare
  today date := ((now() - interval '10 minutes') at time zone 'UTC')::date;
  first date;
  closing date;
  child text;
begin
  if not pg_try_advisory_xact_lock(hashtext('usage_close_day')) then
    return null;
  end if;
  select min(d.day) into first from (
    select to_date(right(c.relname, 8), 'YYYYMMDD') as day from pg_inherits i join pg_class c on c.oid = i.inhrelid
      where i.inhparent = 'audit_log'::regclass and c.relname ~ '^audit_log_[0-9]{8}$'
    union all select min(recorded_on) from audit_log_default) d;
  -- Two clocks may differ by a day; nobody has rows of before there was a tenant.
  insert into usage_closed (tenant_id, before)
    select t.id, greatest((t.created_at at time zone 'UTC')::date - 1, first) from tenants t
    where not exists (select 1 from usage_closed c where c.tenant_id = t.id) on conflict do nothing;
  select min(c.before) into closing from usage_closed c where c.before < today;
  if closing is null then
    return null;
  end if;

  child := 'audit_log_' || to_char(closing, 'YYYYMMDD');
  execute format('lock table only %I in share mode', case when to_regclass(child) is null then 'audit_log_default' else child end);
  perform 1 from tenants t where t.id in (select c.tenant_id from usage_closed c where c.before = closing) order by t.id for share;
  delete from usage_days d using usage_closed c
    where c.before = closing and d.tenant_id = c.tenant_id and d.recorded_on = closing;
  insert into usage_days
    select a.tenant_id, closing, s.local_day, a.api_key_id, a.model, count(*) filter (where a.outcome <> 'adjusted'),
           sum(a.prompt_tokens), sum(a.output_tokens), sum(a.charged_tokens)
    from usage_closed c join tenants t on t.id = c.tenant_id join audit_log a on a.tenant_id = c.tenant_id
    cross join lateral (
      select ((case when a.outcome = 'adjusted' then a.day else a.admitted_at end) at time zone t.time_zone)::date as local_day) s
    where c.before = closing and a.recorded_on = closing and a.outcome not in ('refused', 'noted') and s.local_day is not null
    group by 1, 2, 3, 4, 5;
  update usage_closed c set before = closing + 1 where c.before = closing;
  return closing;
end $$
-- ;;
-- With the time zone of a tenant its days change: they are summed up anew.
create function usage_forget_r1() returns trigger language plpgsql as $$
begin
  delete from usage_closed c where c.tenant_id = new.id;
  delete from usage_days d where d.tenant_id = new.id;
  return null;
end $$
-- ;;
create trigger tenants_usage after update of time_zone on tenants
  for each row when (old.time_zone is distinct from new.time_zone) execute function usage_forget_r1()
