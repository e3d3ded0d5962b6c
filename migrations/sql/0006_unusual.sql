-- Rows of requests that did not end as most do, which are few, in the order of their making. Of days that are long the
-- indexes would be built for minutes, with all writers waiting: they stay without, as in 0005; all to come have them.
create index audit_log_status_idx on only audit_log (status, id) where status <> 200
-- ;;
create index audit_log_outcome_idx on only audit_log (outcome, id) where outcome <> 'completed'
-- ;;
do $$
declare
  child name;
begin
  for child in
    select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = 'audit_log'::regclass and pg_relation_size(c.oid) < 16 * 1024 * 1024
  loop
    execute format('create index %I on %I (status, id) where status <> 200', child || '_status_idx', child);
    execute format('alter index audit_log_status_idx attach partition %I', child || '_status_idx');
    execute format('create index %I on %I (outcome, id) where outcome <> ''completed''', child || '_outcome_idx', child);
    execute format('alter index audit_log_outcome_idx attach partition %I', child || '_outcome_idx');
  end loop;
end $$
