create type refusal_r1 as (
  id uuid, tenant_id uuid, api_key_id uuid, endpoint text, model text, request_id text, address text, user_agent text,
  status smallint, reason text, refused_at timestamptz)
-- ;;
-- Writes refusals down; one that was written already (a call repeated across an unknown outcome) is left as it is.
create function refuse_r1(refusals refusal_r1[]) returns integer language plpgsql as $$
declare
  written integer;
begin
  insert into audit_log (id, tenant_id, api_key_id, request_id, endpoint, model, outcome, status, reason, admitted_at, address, user_agent)
    select f.id, f.tenant_id, f.api_key_id, f.request_id, f.endpoint, f.model, 'refused', f.status, f.reason, f.refused_at,
           f.address, f.user_agent
    from unnest(refusals) f
    where not exists (select 1 from audit_log a
      where a.id = f.id and a.recorded_on between (now() at time zone 'UTC')::date - 1 and (now() at time zone 'UTC')::date)
    on conflict do nothing;
  get diagnostics written = row_count;
  return written;
end $$
