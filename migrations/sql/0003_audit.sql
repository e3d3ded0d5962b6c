-- The text of an audit row that its hash is taken of: a JSON array whose first element is the version of this form
-- (docs/AUDIT.md). Times are microseconds since 1970, so that no setting of a session changes them.
create function audit_text_r1(a audit_log) returns text language sql stable as $$
  select json_build_array(1, a.writer, a.recorded_on, a.sequence, a.id, a.tenant_id, a.api_key_id, a.request_id, a.endpoint,
    a.model, a.outcome, a.status, a.reason, a.prompt_tokens, a.output_tokens, a.charged_tokens, a.estimated,
    a.reserved_tokens, a.first_byte_ms, a.duration_ms, (extract(epoch from a.admitted_at) * 1000000)::bigint, a.address,
    a.user_agent, (extract(epoch from a.day) * 1000000)::bigint, (extract(epoch from a.month) * 1000000)::bigint,
    a.occurrences)::text
$$
-- ;;
-- Adds rows to the end of a writer's chain of today: hash = sha256(hash of the row before || text of the row).
-- The head is locked last of all locks, so that no order of locks can be broken; a writer is one lane of one process.
-- Rows come in the order of their ids: where two writers write the same ids, one waits for the other, never each for
-- each. Raises unique_violation where a row is there already. Callers set enable_seqscan, plan_cache_mode.
create function audit_append_r1(writer uuid, rows audit_log[]) returns void language plpgsql as $$
declare
  today date := (now() at time zone 'UTC')::date;
  last bigint;
  head bytea;
  r audit_log;
begin
  if coalesce(cardinality(rows), 0) = 0 then
    return;
  end if;
  select h.sequence, h.hash into last, head from audit_heads h
    where h.writer = audit_append_r1.writer and h.day = today for update;
  if not found then
    insert into audit_heads (writer, day, sequence, hash) values (audit_append_r1.writer, today, 0, '') on conflict do nothing;
    select h.sequence, h.hash into last, head from audit_heads h
      where h.writer = audit_append_r1.writer and h.day = today for update;
  end if;

  for i in 1 .. cardinality(rows) loop
    r := rows[i];
    last := last + 1;
    r.recorded_on := today;
    r.writer := audit_append_r1.writer;
    r.sequence := last;
    head := sha256(head || convert_to(audit_text_r1(r), 'UTF8'));
    r.hash := head;
    rows[i] := r;
  end loop;
  insert into audit_log select u.* from unnest(rows) u;
  update audit_heads h set sequence = last, hash = head where h.writer = audit_append_r1.writer and h.day = today;
end $$
-- ;;
create type refusal_r2 as (
  id uuid, tenant_id uuid, api_key_id uuid, endpoint text, model text, request_id text, address text, user_agent text,
  status smallint, reason text, refused_at timestamptz, occurrences integer)
-- ;;
-- Whether a request of this time may have a row of yesterday: clocks are taken to be less than two hours apart.
create function audit_before_today_r1(at timestamptz) returns boolean language sql stable as $$
  select at < date_trunc('day', now() at time zone 'UTC') at time zone 'UTC' + interval '2 hours'
$$
-- ;;
-- Writes refusals down; one that was written already (a call repeated across an unknown outcome) is left as it is.
create function refuse_r2(writer uuid, refusals refusal_r2[]) returns integer
language plpgsql set enable_seqscan = off set plan_cache_mode = force_generic_plan as $$
declare
  rows audit_log[];
  -- a row of today shows by itself; one of yesterday has to be looked for, in all partitions, since each is locked then
  look boolean := exists (select 1 from unnest(refusals) f where audit_before_today_r1(f.refused_at));
  tries integer := 0;
begin
  loop
    -- distinct: the first of an id is its row
    select array_agg(row(f.id, null, f.tenant_id, f.api_key_id, f.request_id, f.endpoint, f.model, 'refused', f.status,
                         f.reason, 0, 0, 0, false, 0, null, null, f.refused_at, f.address, f.user_agent, null, null,
                         f.occurrences, null, null, null)::audit_log order by f.id) into rows
      from (select distinct on (u.id) u.* from unnest(refusals) with ordinality u order by u.id, u.ordinality) f;
    if look then
      select array_agg(f order by f.id) into rows from unnest(rows) f
        where not exists (select 1 from audit_log a
          where a.id = f.id and a.recorded_on between (now() at time zone 'UTC')::date - 1 and (now() at time zone 'UTC')::date);
    end if;
    begin
      perform audit_append_r1(refuse_r2.writer, rows);
      return coalesce(cardinality(rows), 0);
    exception when unique_violation then
      -- there since an earlier call, or by the release of the same request just now: either is seen the second time
      tries := tries + 1;
      if tries > 4 then
        raise;
      end if;
      look := true;
    end;
  end loop;
end $$
