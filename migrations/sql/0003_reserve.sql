create type reservation_request_r2 as (
  id uuid, process_id uuid, tenant_id uuid, tenant_version integer, api_key_id uuid, key_version integer,
  day timestamptz, month timestamptz, prompt_bound bigint, output_wanted bigint, estimated bigint,
  model text, endpoint text, request_id text, address text, user_agent text, admitted_at timestamptz)
-- ;;
-- What is open of a scope in a window, for a usage row that has to be made anew: somebody may have deleted it.
create function budget_open_r1(tenant_id uuid, scope_id uuid, period text, window_start timestamptz) returns bigint
language sql stable as $$
  select coalesce(sum(r.reserved), 0)::bigint from reservations r
  where r.tenant_id = $1 and ($2 = $1 or r.api_key_id = $2)
    and case $3 when 'daily' then r.day = $4 when 'monthly' then r.month = $4 else true end
$$
-- ;;
-- As reserve_r1; a process that was swept as dead gets 'swept' instead of a grant, since what it reserved now would be
-- charged as abandoned.
-- One verdict a request, in the order of the requests: granted_tokens of output, or refused_by: 'stale', or the
-- scope and period with the least head-room ('key.daily'), its limit and what it has left.
-- Lock order (DESIGN 5): missing usage rows inserted in order, then usage rows by (scope, period, window start).
-- All requests are weighed in memory under those locks, then written at once: a hot row is written once a batch.
create function reserve_r2(requests reservation_request_r2[])
returns table (granted_tokens bigint, refused_by text, refused_limit bigint, refused_left bigint)
language plpgsql set enable_seqscan = off set plan_cache_mode = force_generic_plan as $$
declare
  fresh boolean[];     -- by request: the principal is as the tables have it
  swept boolean[];     -- by request: its process was taken for dead
  prompts bigint[];
  wanted bigint[];
  before bigint[];     -- by request: the output it was granted by an earlier call with the same id
  places integer[];    -- six a request: the place of a usage row in the arrays below
  names text[];
  limits bigint[];     -- null without a budget
  rooms bigint[];      -- null without a budget
  needs bigint[] := '{}';
  clash boolean;
  tightest integer;
  need bigint;
  written bigint;
  expected bigint;
begin
  insert into budget_usage (tenant_id, scope_id, period, window_start, reserved)
    select distinct q.tenant_id, w.scope_id, w.period, w.window_start,
                    budget_open_r1(q.tenant_id, w.scope_id, w.period, w.window_start)
    from unnest(requests) q cross join lateral budget_windows_r1(q.tenant_id, q.api_key_id, q.day, q.month) w
    where not exists (select 1 from budget_usage u
      where (u.scope_id, u.period, u.window_start) = (w.scope_id, w.period, w.window_start))
    order by 2, 3, 4
    on conflict do nothing;

  perform 1 from budget_usage u
    where (u.scope_id, u.period, u.window_start) in (
      select w.scope_id, w.period, w.window_start
      from unnest(requests) q cross join lateral budget_windows_r1(q.tenant_id, q.api_key_id, q.day, q.month) w)
    order by u.scope_id, u.period, u.window_start for update;

  select array_agg(coalesce(t.status = 'active' and t.version = q.tenant_version and k.version = q.key_version
             and k.revoked_at is null and (k.expires_at is null or k.expires_at > q.admitted_at), false) order by q.ordinality),
         array_agg(q.prompt_bound order by q.ordinality), array_agg(q.output_wanted order by q.ordinality),
         array_agg(r.reserved - r.prompt_bound order by q.ordinality),
         array_agg(p.swept_at is not null order by q.ordinality),
         bool_or((r.tenant_id, r.api_key_id) is distinct from (q.tenant_id, q.api_key_id)) filter (where r.id is not null)
    into fresh, prompts, wanted, before, swept, clash
    from unnest(requests) with ordinality q
    left join tenants t on t.id = q.tenant_id
    left join processes p on p.id = q.process_id
    left join api_keys k on k.id = q.api_key_id and k.tenant_id = q.tenant_id
    left join reservations r on r.id = q.id;
  if clash then
    raise unique_violation using message = 'a reservation with this id belongs to another key';
  end if;

  with slots as materialized (
    select q.ordinality, w.slot, w.scope || '.' || w.period as name, w.scope_id, w.period, w.window_start,
           dense_rank() over (order by w.scope_id, w.period, w.window_start) as place
    from unnest(requests) with ordinality q
    cross join lateral budget_windows_r1(q.tenant_id, q.api_key_id, q.day, q.month) w
  ), rows as (
    select distinct on (place) place, name, scope_id, period, window_start from slots order by place
  ), weighed as (
    -- a usage row that is missing has no room
    select s.place, s.name, b.limit_tokens,
           case when b.limit_tokens is not null then coalesce(b.limit_tokens - u.used - u.reserved, 0) end as room
    from rows s
    left join budgets b on b.scope_id = s.scope_id and b.period = s.period
    left join budget_usage u on u.scope_id = s.scope_id and u.period = s.period and u.window_start = s.window_start
  )
  select (select array_agg(place::integer order by ordinality, slot) from slots),
         array_agg(name order by place), array_agg(limit_tokens order by place), array_agg(room order by place)
    into places, names, limits, rooms from weighed;

  for i in 1 .. cardinality(requests) loop
    refused_by := null; refused_limit := null; refused_left := null; need := null; tightest := null;
    if before[i] is not null then
      granted_tokens := before[i];
    elsif swept[i] then
      granted_tokens := null;
      refused_by := 'swept';
    elsif not fresh[i] then
      granted_tokens := null;
      refused_by := 'stale';
    else
      for s in i * 6 - 5 .. i * 6 loop
        if rooms[places[s]] < coalesce(rooms[tightest], 9223372036854775807) then
          tightest := places[s];
        end if;
      end loop;
      -- what costs nothing is never refused for want of tokens
      if tightest is not null and prompts[i] + wanted[i] > 0 and rooms[tightest] < prompts[i] + least(wanted[i], 1) then
        granted_tokens := null;
        refused_by := names[tightest];
        refused_limit := limits[tightest];
        refused_left := greatest(rooms[tightest], 0);
      else
        granted_tokens := greatest(least(wanted[i], coalesce(rooms[tightest], 9223372036854775807) - prompts[i]), 0);
        need := prompts[i] + granted_tokens;
        if need is null or wanted[i] is null then
          raise null_value_not_allowed using message = 'a prompt bound or an output cap is missing';
        end if;
        if tightest is not null then
          for s in i * 6 - 5 .. i * 6 loop
            rooms[places[s]] := rooms[places[s]] - need;
          end loop;
        end if;
      end if;
    end if;
    needs[i] := need;
    return next;
  end loop;

  with held as (
    select q.*, n.need from unnest(requests) with ordinality q
    join unnest(needs) with ordinality n (need, ordinality) using (ordinality) where n.need is not null
  ), written_down as (
    insert into reservations (id, process_id, tenant_id, api_key_id, day, month, reserved, prompt_bound, estimated_tokens, model,
                              endpoint, request_id, address, user_agent, admitted_at)
    select h.id, h.process_id, h.tenant_id, h.api_key_id, h.day, h.month, h.need, h.prompt_bound, h.estimated, h.model,
           h.endpoint, h.request_id, h.address, h.user_agent, h.admitted_at from held h
  ), sums as (
    select w.scope_id, w.period, w.window_start, sum(h.need) as need
    from held h cross join lateral budget_windows_r1(h.tenant_id, h.api_key_id, h.day, h.month) w group by 1, 2, 3
  ), moved as (
    update budget_usage u set reserved = u.reserved + s.need from sums s
    where (u.scope_id, u.period, u.window_start) = (s.scope_id, s.period, s.window_start) returning 1
  )
  select (select count(*) from moved), (select count(*) from sums) into written, expected;
  if written <> expected then
    raise integrity_constraint_violation using message = format('reserved on %s of %s usage rows', written, expected);
  end if;
end $$
