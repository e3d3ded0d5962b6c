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
-- Raises unique_violation where a row is there already.
create function audit_append_r1(writer uuid, rows audit_log[]) returns void
language plpgsql set enable_seqscan = off set plan_cache_mode = force_generic_plan as $$
declare
  today date := (now() at time zone 'UTC')::date;
  last bigint;
  head bytea;
  texts text[];
  hashes bytea[] := '{}';
begin
  if coalesce(cardinality(rows), 0) = 0 then
    return;
  end if;
  insert into audit_heads (writer, day, sequence, hash) values (audit_append_r1.writer, today, 0, '') on conflict do nothing;
  select h.sequence, h.hash into last, head from audit_heads h
    where h.writer = audit_append_r1.writer and h.day = today for update;

  select array_agg(row(u.id, today, u.tenant_id, u.api_key_id, u.request_id, u.endpoint, u.model, u.outcome, u.status,
                       u.reason, u.prompt_tokens, u.output_tokens, u.charged_tokens, u.estimated, u.reserved_tokens,
                       u.first_byte_ms, u.duration_ms, u.admitted_at, u.address, u.user_agent, u.day, u.month,
                       u.occurrences, audit_append_r1.writer, last + u.ordinality, null)::audit_log order by u.ordinality)
    into rows from unnest(rows) with ordinality u;
  select array_agg(audit_text_r1(r) order by r.sequence) into texts from unnest(rows) r;
  for i in 1 .. cardinality(texts) loop
    head := sha256(head || convert_to(texts[i], 'UTF8'));
    hashes[i] := head;
  end loop;

  insert into audit_log (id, recorded_on, tenant_id, api_key_id, request_id, endpoint, model, outcome, status, reason,
                         prompt_tokens, output_tokens, charged_tokens, estimated, reserved_tokens, first_byte_ms,
                         duration_ms, admitted_at, address, user_agent, day, month, occurrences, writer, sequence, hash)
    select r.id, r.recorded_on, r.tenant_id, r.api_key_id, r.request_id, r.endpoint, r.model, r.outcome, r.status, r.reason,
           r.prompt_tokens, r.output_tokens, r.charged_tokens, r.estimated, r.reserved_tokens, r.first_byte_ms,
           r.duration_ms, r.admitted_at, r.address, r.user_agent, r.day, r.month, r.occurrences, r.writer, r.sequence,
           hashes[r.sequence - last]
    from unnest(rows) r;
  update audit_heads h set sequence = last + cardinality(texts), hash = head
    where h.writer = audit_append_r1.writer and h.day = today;
end $$
-- ;;
create type refusal_r2 as (
  id uuid, tenant_id uuid, api_key_id uuid, endpoint text, model text, request_id text, address text, user_agent text,
  status smallint, reason text, refused_at timestamptz, occurrences integer)
-- ;;
-- Writes refusals down; one that was written already (a call repeated across an unknown outcome) is left as it is.
create function refuse_r2(writer uuid, refusals refusal_r2[]) returns integer language plpgsql as $$
declare
  rows audit_log[];
  tried boolean := false;
begin
  loop
    -- distinct: the first of an id is its row
    select array_agg(row(f.id, null, f.tenant_id, f.api_key_id, f.request_id, f.endpoint, f.model, 'refused', f.status,
                         f.reason, 0, 0, 0, false, 0, null, null, f.refused_at, f.address, f.user_agent, null, null,
                         f.occurrences, null, null, null)::audit_log order by f.ordinality) into rows
      from (select distinct on (u.id) u.* from unnest(refusals) with ordinality u order by u.id, u.ordinality) f
      where not exists (select 1 from audit_log a
        where a.id = f.id and a.recorded_on between (now() at time zone 'UTC')::date - 1 and (now() at time zone 'UTC')::date);
    begin
      perform audit_append_r1(refuse_r2.writer, rows);
      return coalesce(cardinality(rows), 0);
    exception when unique_violation then
      -- the release of the same request came between: what it wrote is seen the second time
      if tried then
        raise;
      end if;
      tried := true;
    end;
  end loop;
end $$
