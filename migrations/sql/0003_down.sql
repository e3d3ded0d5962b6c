drop function audit_log_drop_day, audit_window_r1, prompt_log_purge, prompt_log_ensure_partitions, audit_note_r1, adjust_r1, abandon_r1, settle_r2, refuse_r2
-- ;;
drop type refusal_r2
-- ;;
drop function admitted_r1, audit_before_today_r1, audit_append_r1, audit_text_r1, reserve_r2, budget_open_r1
-- ;;
drop type reservation_request_r2
-- ;;
drop table prompt_log, audit_carried, audit_listed, audit_checkpoints, audit_heads
-- ;;
-- as in 0002_loading.sql
create function api_keys_version_r2() returns trigger language plpgsql as $$
begin
  if (new.id, new.tenant_id, new.name, new.prefix, new.allowed_models, new.expires_at, new.revoked_at, new.may_load_models)
      is distinct from
      (old.id, old.tenant_id, old.name, old.prefix, old.allowed_models, old.expires_at, old.revoked_at, old.may_load_models)
      or new.pepper_id = old.pepper_id and new.digest <> old.digest then
    new.version := greatest(new.version, old.version + 1);
  else
    new.version := greatest(new.version, old.version);
  end if;
  return new;
end $$
-- ;;
drop trigger api_keys_version on api_keys
-- ;;
create trigger api_keys_version before update on api_keys for each row execute function api_keys_version_r2()
-- ;;
drop function api_keys_version_r3
-- ;;
alter table api_keys drop column prompt_log_seconds
-- ;;
drop index reservations_process_id_idx, reservations_tenant_id_idx
-- ;;
alter table reservations drop column estimated_tokens
-- ;;
alter table processes drop column swept_at
-- ;;
-- rows that stand for nobody or for many have no place in the table as it was
delete from audit_log where tenant_id is null or api_key_id is null
-- ;;
drop index audit_log_writer_recorded_on_sequence_idx, audit_log_adjusted_idx
-- ;;
alter table audit_log
  drop column hash, drop column sequence, drop column writer, drop column occurrences, drop column month, drop column day,
  alter column api_key_id set not null, alter column tenant_id set not null
-- ;;
-- as in 0001_partitions.sql
-- Makes the day partitions [from_day, from_day + days) of audit_log that are missing; returns how many it made.
-- Built apart, then attached: ATTACH locks the parent far less than CREATE ... PARTITION OF does.
-- Rows that fell into the default partition for want of their own move over.
create or replace function audit_log_ensure_partitions(from_day date, days integer) returns integer language plpgsql as $$
declare
  day date;
  child text;
  made integer := 0;
begin
  perform pg_advisory_xact_lock(hashtext('audit_log_ensure_partitions'));
  for day in select from_day + n from generate_series(0, days - 1) n loop
    child := 'audit_log_' || to_char(day, 'YYYYMMDD');
    continue when to_regclass(child) is not null;
    execute format('create table %I (like audit_log including defaults including constraints including indexes)', child);
    if exists (select 1 from audit_log_default d where d.recorded_on = day) then
      lock table audit_log_default in access exclusive mode;
      execute format('with gone as (delete from audit_log_default where recorded_on = %L returning *)
                      insert into %I select * from gone', day, child);
    end if;
    execute format('alter table audit_log attach partition %I for values from (%L) to (%L)', child, day, day + 1);
    made := made + 1;
  end loop;
  return made;
end $$
