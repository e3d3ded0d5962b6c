-- Refusals of nobody have no tenant; a row may stand for many of the same kind. day and month are the budget windows
-- that were charged, null where none was. writer, sequence and hash make the chain (docs/AUDIT.md).
alter table audit_log
  alter column tenant_id drop not null,
  alter column api_key_id drop not null,
  add column day timestamptz,
  add column month timestamptz,
  add column occurrences integer not null default 1 constraint audit_log_occurrences_check check (occurrences > 0),
  add column writer uuid,
  add column sequence bigint,
  add column hash bytea
-- ;;
create unique index audit_log_writer_recorded_on_sequence_idx on audit_log (writer, recorded_on, sequence)
-- ;;
-- what has been corrected of a request; corrections are few
create index audit_log_adjusted_idx on audit_log (request_id) where outcome = 'adjusted'
-- ;;
-- how far each chain has come; one a writer and day
create table audit_heads (
  writer uuid not null,
  day date not null,
  sequence bigint not null,
  hash bytea not null,
  primary key (writer, day)
) with (fillfactor = 50, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.02)
-- ;;
-- what has been signed; document is the signed text
create table audit_checkpoints (
  number bigint primary key,
  at timestamptz not null,
  document text not null,
  key_id text not null,
  signature bytea not null
)
-- ;;
-- how far each chain had come in the newest checkpoint that lists it
create table audit_listed (
  writer uuid not null,
  day date not null,
  sequence bigint not null,
  primary key (writer, day)
)
-- ;;
-- what rows charged that retention has dropped, so that budgets can be reconciled all the same
create table audit_carried (
  tenant_id uuid not null,
  scope_id uuid not null,
  period text not null constraint audit_carried_period_check check (period in ('daily', 'monthly', 'total')),
  window_start timestamptz not null,
  charged bigint not null,
  primary key (scope_id, period, window_start)
)
-- ;;
-- swept_at: its reservations were charged as abandoned; nothing is reserved for it any more
alter table processes add column swept_at timestamptz
-- ;;
-- estimated_tokens: what the request holds of its tokens a minute, from which the windows in Redis can be rebuilt
alter table reservations add column estimated_tokens bigint not null default 0
-- ;;
create index reservations_process_id_idx on reservations (process_id)
-- ;;
create index reservations_tenant_id_idx on reservations (tenant_id)
-- ;;
alter table api_keys add column prompt_log_seconds integer
  constraint api_keys_prompt_log_seconds_check check (prompt_log_seconds > 0)
-- ;;
-- sealed prompts by the day on which they must be gone
create table prompt_log (
  id uuid not null,
  expires_on date not null,
  tenant_id uuid not null,
  api_key_id uuid not null,
  model text not null,
  endpoint text not null,
  request_id text not null,
  admitted_at timestamptz not null,
  expires_at timestamptz not null,
  prompt_bytes bigint not null,
  key_id text not null,
  nonce bytea not null,
  sealed bytea not null,
  primary key (id, expires_on)
) partition by range (expires_on)
-- ;;
create index prompt_log_tenant_id_admitted_at_idx on prompt_log (tenant_id, admitted_at)
-- ;;
create table prompt_log_default partition of prompt_log default
