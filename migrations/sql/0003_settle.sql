-- As settle_r1, with the rows at the end of the writer's chain.
-- Ends reservations: usage, one audit row each, the reservation gone. Returns the ids it found; a second call with
-- the same id finds nothing and changes nothing.
-- A request whose reservation was committed too late for its caller has been answered 503, so it has the row of that
-- refusal or gets one here: whichever comes first is its one audit row.
-- Lock order (DESIGN 5): reservations by id, then usage rows by (scope, period, window start), then the chain's head.
create function settle_r2(writer uuid, settlements settlement_r1[]) returns uuid[]
language plpgsql set enable_seqscan = off set plan_cache_mode = force_generic_plan as $$
declare
  gone_rows audit_log[];
  fresh_rows audit_log[];
  written bigint;
  expected bigint;
  look boolean;
  tries integer := 0;
begin
  perform 1 from reservations r where r.id in (select s.id from unnest(settlements) s) order by r.id for update;

  insert into budget_usage (tenant_id, scope_id, period, window_start, reserved)
    select distinct r.tenant_id, w.scope_id, w.period, w.window_start,
                    budget_open_r1(r.tenant_id, w.scope_id, w.period, w.window_start)
    from unnest(settlements) s join reservations r on r.id = s.id
    cross join lateral budget_windows_r1(r.tenant_id, r.api_key_id, r.day, r.month) w
    where not exists (select 1 from budget_usage u
      where (u.scope_id, u.period, u.window_start) = (w.scope_id, w.period, w.window_start))
    order by 2, 3, 4
    on conflict do nothing;

  perform 1 from budget_usage u
    where (u.scope_id, u.period, u.window_start) in (
      select w.scope_id, w.period, w.window_start
      from unnest(settlements) s join reservations r on r.id = s.id
      cross join lateral budget_windows_r1(r.tenant_id, r.api_key_id, r.day, r.month) w)
    order by u.scope_id, u.period, u.window_start for update;

  with gone as (
    delete from reservations r using (
      select distinct on (s.id) s.* from unnest(settlements) with ordinality s order by s.id, s.ordinality) s where r.id = s.id
    returning r.*, s.outcome, s.status, s.prompt_tokens, s.output_tokens, s.charged_tokens, s.estimated as uncertain,
              s.first_byte_ms, s.duration_ms
  ), sums as (
    select w.scope_id, w.period, w.window_start, sum(g.charged_tokens) as charged, sum(g.reserved) as freed
    from gone g cross join lateral budget_windows_r1(g.tenant_id, g.api_key_id, g.day, g.month) w group by 1, 2, 3
  ), moved as (
    update budget_usage u set used = u.used + s.charged, reserved = u.reserved - s.freed from sums s
    where (u.scope_id, u.period, u.window_start) = (s.scope_id, s.period, s.window_start) returning 1
  )
  select (select array_agg(row(g.id, null, g.tenant_id, g.api_key_id, g.request_id, g.endpoint, g.model, g.outcome, g.status,
                               '', g.prompt_tokens, g.output_tokens, g.charged_tokens, g.uncertain, g.reserved,
                               g.first_byte_ms, g.duration_ms, g.admitted_at, g.address, g.user_agent, g.day, g.month, 1,
                               null, null, null)::audit_log order by g.id) from gone g),
         (select count(*) from moved), (select count(*) from sums)
    into gone_rows, written, expected;
  if written <> expected then
    raise integrity_constraint_violation using message = format('settled on %s of %s usage rows', written, expected);
  end if;

  -- the refusal of the same request may be there: one of today shows by itself, for one of yesterday every partition
  -- is locked
  look := exists (select 1 from unnest(gone_rows) g
                  where g.outcome = 'not_forwarded' and audit_before_today_r1(g.admitted_at));
  loop
    fresh_rows := gone_rows;
    if look then
      select array_agg(g order by g.id) into fresh_rows from unnest(gone_rows) g
        where not (g.outcome = 'not_forwarded' and exists (select 1 from audit_log a where a.id = g.id
          and a.recorded_on between (g.admitted_at at time zone 'UTC')::date - 1 and (now() at time zone 'UTC')::date));
    end if;
    begin
      perform audit_append_r1(settle_r2.writer, fresh_rows);
      exit;
    exception when unique_violation then
      -- the refusal of the same request came between; what is charged must have its own row, so it fails instead
      tries := tries + 1;
      if tries > 4 then
        raise;
      end if;
      look := true;
    end;
  end loop;
  return coalesce((select array_agg(g.id) from unnest(gone_rows) g), '{}');
end $$
-- ;;
-- Charges in full what processes held whose last heartbeat is older than `age`, as abandoned; returns how many requests.
-- A swept process can reserve nothing more under its id. What somebody else is just settling is left to them.
-- What was refused meanwhile was never forwarded: its reservation, committed too late for its caller, costs nothing.
-- heard_at is the last good heartbeat of whoever sweeps: where the clock jumped since, as of a machine that slept, nothing
-- is done, since it would make the heartbeats of all look old.
create function abandon_r1(writer uuid, age interval, most integer, heard_at timestamptz) returns integer
language plpgsql as $$
declare
  today date := (now() at time zone 'UTC')::date;
  dead settlement_r1[];
  alone settlement_r1;
  ended integer := 0;
begin
  if now() - heard_at > age / 2 then
    return 0;
  end if;
  update processes set swept_at = now() where id in (
    select p.id from processes p where p.swept_at is null and p.heartbeat_at < now() - age for update skip locked);
  -- without a row: it was committed after its process had taken its leave
  select array_agg(case when exists (select 1 from audit_log a where a.id = d.id
                  and a.recorded_on between (d.admitted_at at time zone 'UTC')::date - 1 and today)
           then row(d.id, 'not_forwarded', 503, 0, 0, 0, false, null, null)::settlement_r1
           else row(d.id, 'abandoned', 0, d.prompt_bound, d.reserved - d.prompt_bound, d.reserved, d.reserved > 0, null,
                    null)::settlement_r1 end order by d.id) into dead
    from (select r.* from reservations r left join processes p on p.id = r.process_id
          where p.swept_at is not null or p.id is null and r.admitted_at < now() - age
          order by r.id limit most for update of r skip locked) d;
  -- all of them here, in order: what is settled one by one below would take them in the order of the reservations
  perform 1 from budget_usage u
    where (u.scope_id, u.period, u.window_start) in (
      select w.scope_id, w.period, w.window_start
      from unnest(dead) d join reservations r on r.id = d.id
      cross join lateral budget_windows_r1(r.tenant_id, r.api_key_id, r.day, r.month) w)
    order by u.scope_id, u.period, u.window_start for update;
  begin
    ended := cardinality(settle_r2(abandon_r1.writer, coalesce(dead, '{}')));
  exception when integrity_constraint_violation or data_exception then
    -- one that cannot be settled must not keep the others from it
    foreach alone in array dead loop
      begin
        ended := ended + cardinality(settle_r2(abandon_r1.writer, array[alone]));
      exception when integrity_constraint_violation or data_exception then
        raise warning 'reservation % cannot be settled: %', alone.id, sqlerrm;
      end;
    end loop;
  end;
  delete from processes p where p.swept_at < now() - interval '30 days'
    and not exists (select 1 from reservations r where r.process_id = p.id);
  return ended;
end $$
-- ;;
-- An operator's correction: `tokens` (negative gives back) on the windows of a tenant, or of a key with its tenant.
-- Returns null, or the scope and period that would have fallen below nothing used.
create function adjust_r1(writer uuid, id uuid, tenant_id uuid, api_key_id uuid, tokens bigint, day timestamptz,
                          month timestamptz, request_id text, model text, reason text, actor text, adjusted_at timestamptz) returns text
language plpgsql as $$
declare
  short text;
begin
  insert into budget_usage (tenant_id, scope_id, period, window_start, reserved)
    select adjust_r1.tenant_id, w.scope_id, w.period, w.window_start,
           budget_open_r1(adjust_r1.tenant_id, w.scope_id, w.period, w.window_start)
    from budget_windows_r1(adjust_r1.tenant_id, adjust_r1.api_key_id, adjust_r1.day, adjust_r1.month) w
    where w.scope_id is not null order by 2, 3, 4
    on conflict do nothing;
  perform 1 from budget_usage u where (u.scope_id, u.period, u.window_start) in (
      select w.scope_id, w.period, w.window_start
      from budget_windows_r1(adjust_r1.tenant_id, adjust_r1.api_key_id, adjust_r1.day, adjust_r1.month) w)
    order by u.scope_id, u.period, u.window_start for update;
  select w.scope || '.' || w.period into short
    from budget_windows_r1(adjust_r1.tenant_id, adjust_r1.api_key_id, adjust_r1.day, adjust_r1.month) w
    join budget_usage u using (scope_id, period, window_start)
    where u.used + tokens < 0 order by u.used limit 1;
  if short is not null then
    return short;
  end if;
  update budget_usage u set used = u.used + tokens
    from budget_windows_r1(adjust_r1.tenant_id, adjust_r1.api_key_id, adjust_r1.day, adjust_r1.month) w
    where (u.scope_id, u.period, u.window_start) = (w.scope_id, w.period, w.window_start);
  perform audit_append_r1(adjust_r1.writer, array[row(adjust_r1.id, null, adjust_r1.tenant_id, adjust_r1.api_key_id,
    adjust_r1.request_id, 'adjust-usage', adjust_r1.model, 'adjusted', 0, adjust_r1.reason, 0, 0, tokens, false, 0, null, null,
    adjusted_at, '', actor, adjust_r1.day, adjust_r1.month, 1, null, null, null)::audit_log]);
  return null;
end $$
-- ;;
-- What an operator did, which cost nothing: `about` names the request that it was about, if any.
create function audit_note_r1(writer uuid, id uuid, tenant_id uuid, api_key_id uuid, about text, reason text, actor text,
                              noted_at timestamptz) returns void language plpgsql as $$
begin
  perform audit_append_r1(audit_note_r1.writer, array[row(audit_note_r1.id, null, audit_note_r1.tenant_id,
    audit_note_r1.api_key_id, about, 'audit', '', 'noted', 0, audit_note_r1.reason, 0, 0, 0, false, 0, null, null, noted_at, '',
    actor, null, null, 1, null, null, null)::audit_log]);
end $$
