-- Callers are told the id of each request, so that is what they ask about. Of days that are long the index would be built
-- for minutes, with all writers waiting: they stay without, until retention drops them; all to come have it.
create index audit_log_request_id_idx on only audit_log (request_id)
-- ;;
do $$
declare
  child name;
begin
  for child in
    select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = 'audit_log'::regclass and pg_relation_size(c.oid) < 16 * 1024 * 1024
  loop
    execute format('create index %I on %I (request_id)', child || '_request_idx', child);
    execute format('alter index audit_log_request_id_idx attach partition %I', child || '_request_idx');
  end loop;
end $$
