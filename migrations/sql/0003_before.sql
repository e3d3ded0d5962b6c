-- As in 0001_settle.sql, with another name for what is uncertain, since reservations have a column `estimated` by now:
-- processes of the version before settle by it until the last of them is replaced.
create or replace function settle_r1(settlements settlement_r1[]) returns uuid[]
language plpgsql set enable_seqscan = off set plan_cache_mode = force_generic_plan as $$
declare
  found_ids uuid[];
  refused_ids uuid[] := '{}';
  written bigint;
  expected bigint;
begin
  perform 1 from reservations r where r.id in (select s.id from unnest(settlements) s) order by r.id for update;

  perform 1 from budget_usage u
    where (u.scope_id, u.period, u.window_start) in (
      select w.scope_id, w.period, w.window_start
      from unnest(settlements) s join reservations r on r.id = s.id
      cross join lateral budget_windows_r1(r.tenant_id, r.api_key_id, r.day, r.month) w)
    order by u.scope_id, u.period, u.window_start for update;

  -- asked for releases alone, since every partition is locked for it; on conflict sees those of the same day
  if exists (select 1 from unnest(settlements) s where s.outcome = 'not_forwarded') then
    select coalesce(array_agg(a.id), '{}') into refused_ids from audit_log a
      where a.id in (select s.id from unnest(settlements) s where s.outcome = 'not_forwarded')
        and a.recorded_on between (now() at time zone 'UTC')::date - 1 and (now() at time zone 'UTC')::date;
  end if;

  with gone as (
    delete from reservations r using unnest(settlements) s where r.id = s.id
    returning r.*, s.outcome, s.status, s.prompt_tokens, s.output_tokens, s.charged_tokens, s.estimated as uncertain,
              s.first_byte_ms, s.duration_ms
  ), audited as (
    insert into audit_log (id, tenant_id, api_key_id, request_id, endpoint, model, outcome, status, prompt_tokens, output_tokens,
                           charged_tokens, estimated, reserved_tokens, first_byte_ms, duration_ms, admitted_at, address, user_agent)
    select g.id, g.tenant_id, g.api_key_id, g.request_id, g.endpoint, g.model, g.outcome, g.status, g.prompt_tokens, g.output_tokens,
           g.charged_tokens, g.uncertain, g.reserved, g.first_byte_ms, g.duration_ms, g.admitted_at, g.address, g.user_agent
    from gone g where g.id <> all (refused_ids)
    on conflict (id, recorded_on) do nothing
  ), sums as (
    select w.scope_id, w.period, w.window_start, sum(g.charged_tokens) as charged, sum(g.reserved) as freed
    from gone g cross join lateral budget_windows_r1(g.tenant_id, g.api_key_id, g.day, g.month) w group by 1, 2, 3
  ), moved as (
    update budget_usage u set used = u.used + s.charged, reserved = u.reserved - s.freed from sums s
    where (u.scope_id, u.period, u.window_start) = (s.scope_id, s.period, s.window_start) returning 1
  )
  select (select array_agg(id) from gone), (select count(*) from moved), (select count(*) from sums)
    into found_ids, written, expected;
  if written <> expected then
    raise integrity_constraint_violation using message = format('settled on %s of %s usage rows', written, expected);
  end if;
  return coalesce(found_ids, '{}');
end $$
