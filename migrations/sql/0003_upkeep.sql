-- As in 0001_partitions.sql, with a variable that no column of audit_log is named after any more.
-- Makes the day partitions [from_day, from_day + days) of audit_log that are missing; returns how many it made.
-- Built apart, then attached: ATTACH locks the parent far less than CREATE ... PARTITION OF does.
-- Rows that fell into the default partition for want of their own move over.
create or replace function audit_log_ensure_partitions(from_day date, days integer) returns integer language plpgsql as $$
declare
  wanted date;
  child text;
  made integer := 0;
begin
  perform pg_advisory_xact_lock(hashtext('audit_log_ensure_partitions'));
  for wanted in select from_day + n from generate_series(0, days - 1) n loop
    child := 'audit_log_' || to_char(wanted, 'YYYYMMDD');
    continue when to_regclass(child) is not null;
    execute format('create table %I (like audit_log including defaults including constraints including indexes)', child);
    if exists (select 1 from audit_log_default d where d.recorded_on = wanted) then
      lock table audit_log_default in access exclusive mode;
      execute format('with gone as (delete from audit_log_default where recorded_on = %L returning *)
                      insert into %I select * from gone', wanted, child);
    end if;
    execute format('alter table audit_log attach partition %I for values from (%L) to (%L)', child, wanted, wanted + 1);
    made := made + 1;
  end loop;
  return made;
end $$
-- ;;
-- Makes the day partitions [from_day, from_day + days) of prompt_log that are missing; returns how many it made.
create function prompt_log_ensure_partitions(from_day date, days integer) returns integer language plpgsql as $$
declare
  day date;
  child text;
  made integer := 0;
begin
  perform pg_advisory_xact_lock(hashtext('prompt_log_ensure_partitions'));
  for day in select from_day + n from generate_series(0, days - 1) n loop
    child := 'prompt_log_' || to_char(day, 'YYYYMMDD');
    continue when to_regclass(child) is not null;
    execute format('create table %I (like prompt_log including defaults including constraints including indexes)', child);
    if exists (select 1 from prompt_log_default d where d.expires_on = day) then
      lock table prompt_log_default in access exclusive mode;
      execute format('with gone as (delete from prompt_log_default where expires_on = %L returning *)
                      insert into %I select * from gone', day, child);
    end if;
    execute format('alter table prompt_log attach partition %I for values from (%L) to (%L)', child, day, day + 1);
    made := made + 1;
  end loop;
  return made;
end $$
-- ;;
-- Takes away every prompt whose time is over: whole days by their partition, the rest by row; returns the rows that were
-- deleted. A partition that somebody reads cannot be dropped within the lock time-out: then its rows go alone. One at a
-- time: a second caller finds nothing to do.
create function prompt_log_purge() returns integer language plpgsql as $$
declare
  today date := (now() at time zone 'UTC')::date;
  child text;
  part integer;
  gone integer := 0;
begin
  if not pg_try_advisory_xact_lock(hashtext('prompt_log_purge')) then
    return 0;
  end if;
  for child in
    select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = 'prompt_log'::regclass and c.relname ~ '^prompt_log_[0-9]{8}$'
      and to_date(right(c.relname, 8), 'YYYYMMDD') < today
  loop
    begin
      execute format('drop table %I', child);
    exception when lock_not_available then
      execute format('delete from %I where expires_at <= now()', child);
      get diagnostics part = row_count;
      gone := gone + part;
    end;
  end loop;
  delete from prompt_log where expires_at <= now() and expires_on = today;
  get diagnostics part = row_count;
  gone := gone + part;
  delete from prompt_log_default where expires_at <= now();
  get diagnostics part = row_count;
  return gone + part;
end $$
-- ;;
-- The window in which a request was charged whose row does not name it, as rows of before this revision do not: the
-- newest of its tenant that had begun when it was admitted, since reserving made the row of each window (DESIGN 5).
create or replace function audit_window_r1(tenant_id uuid, period text, admitted_at timestamptz) returns timestamptz
language sql stable as $$
  select max(u.window_start) from budget_usage u
  where u.scope_id = audit_window_r1.tenant_id and u.period = audit_window_r1.period
    and u.window_start <= audit_window_r1.admitted_at
$$
-- ;;
-- Drops the audit rows of one day with their chains; what they charged is carried on. A checkpoint that lists the
-- chains of that day must stand before (docs/AUDIT.md). Returns how many rows went.
-- The lock that a drop needs stops every writer who comes while it is waited for, so the wait should be short (set
-- lock_timeout) and is begun again `tries` times, with pauses; then raises lock_not_available, with nothing changed.
create function audit_log_drop_day(gone_day date, tries integer default 1) returns bigint language plpgsql as $$
declare
  child text := 'audit_log_' || to_char(gone_day, 'YYYYMMDD');
  gone bigint;
begin
  insert into audit_carried (tenant_id, scope_id, period, window_start, charged)
    select a.tenant_id, w.scope_id, w.period, w.window_start, sum(a.charged)
    from (select r.tenant_id, r.api_key_id, coalesce(r.day, audit_window_r1(r.tenant_id, 'daily', r.admitted_at)) as day,
                 coalesce(r.month, audit_window_r1(r.tenant_id, 'monthly', r.admitted_at)) as month,
                 sum(r.charged_tokens) as charged
          from audit_log r where r.recorded_on = gone_day and r.charged_tokens <> 0 group by 1, 2, 3, 4) a
    cross join lateral budget_windows_r1(a.tenant_id, a.api_key_id, a.day, a.month) w
    where w.scope_id is not null and w.window_start is not null
    group by 1, 2, 3, 4 order by 2, 3, 4
    on conflict (scope_id, period, window_start) do update set charged = audit_carried.charged + excluded.charged;
  select count(*) into gone from audit_log a where a.recorded_on = gone_day;
  delete from audit_heads h where h.day = gone_day;
  delete from audit_listed l where l.day = gone_day;
  if to_regclass(child) is null then
    delete from audit_log_default d where d.recorded_on = gone_day;
    return gone;
  end if;
  for try in 1 .. tries loop
    begin
      execute format('drop table %I', child);
      exit;
    exception when lock_not_available then
      if try = tries then
        raise;
      end if;
      perform pg_sleep(0.2 + random() * 0.3);
    end;
  end loop;
  return gone;
end $$
-- ;;
select prompt_log_ensure_partitions((now() at time zone 'UTC')::date, 2)
