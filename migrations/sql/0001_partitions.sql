-- Makes the day partitions [from_day, from_day + days) of audit_log that are missing; returns how many it made.
-- Built apart, then attached: ATTACH locks the parent far less than CREATE ... PARTITION OF does.
-- Rows that fell into the default partition for want of their own move over.
create function audit_log_ensure_partitions(from_day date, days integer) returns integer language plpgsql as $$
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
-- ;;
select audit_log_ensure_partitions((now() at time zone 'UTC')::date, 7)
