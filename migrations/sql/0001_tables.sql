create table tenants (
  id uuid primary key,
  name text not null constraint tenants_name_key unique,
  status text not null default 'active' constraint tenants_status_check check (status in ('active', 'suspended')),
  time_zone text not null default 'UTC',
  allow_all_models boolean not null default false,
  allowed_models text[] not null default '{}',
  rpm integer,
  tpm bigint,
  concurrent integer,
  output_cap integer,
  version integer not null default 1,
  created_at timestamptz not null default now()
)
-- ;;
create table api_keys (
  id uuid primary key,
  tenant_id uuid not null references tenants,
  name text not null,
  prefix text not null constraint api_keys_prefix_key unique,
  secret_hash text not null,
  digest bytea not null,
  pepper_id text not null,
  proven_at timestamptz,
  allowed_models text[],
  expires_at timestamptz,
  revoked_at timestamptz,
  version integer not null default 1,
  created_at timestamptz not null default now(),
  constraint api_keys_id_tenant_id_key unique (id, tenant_id)
)
-- ;;
create index api_keys_tenant_id_idx on api_keys (tenant_id)
-- ;;
create table key_limits (
  api_key_id uuid primary key,
  tenant_id uuid not null,
  rpm integer,
  tpm bigint,
  concurrent integer,
  output_cap integer,
  foreign key (api_key_id, tenant_id) references api_keys (id, tenant_id) on delete cascade
)
-- ;;
create table budgets (
  tenant_id uuid not null references tenants,
  scope_id uuid not null,
  scope text not null constraint budgets_scope_check check (scope in ('tenant', 'key')),
  period text not null constraint budgets_period_check check (period in ('daily', 'monthly', 'total')),
  limit_tokens bigint not null constraint budgets_limit_tokens_check check (limit_tokens >= 0),
  primary key (scope_id, period)
)
-- ;;
-- half-empty pages keep the many updates of a hot row on its own page (heap-only tuples)
create table budget_usage (
  tenant_id uuid not null,
  scope_id uuid not null,
  period text not null constraint budget_usage_period_check check (period in ('daily', 'monthly', 'total')),
  window_start timestamptz not null,
  used bigint not null default 0,
  reserved bigint not null default 0 constraint budget_usage_reserved_check check (reserved >= 0),
  primary key (scope_id, period, window_start)
) with (fillfactor = 50, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.02)
-- ;;
-- holds open requests alone, so it is short, but every request passes through it
create table reservations (
  id uuid primary key,
  process_id uuid not null,
  tenant_id uuid not null,
  api_key_id uuid not null,
  day timestamptz not null,
  month timestamptz not null,
  reserved bigint not null,
  prompt_bound bigint not null,
  model text not null,
  endpoint text not null,
  request_id text not null,
  address text not null,
  user_agent text not null,
  admitted_at timestamptz not null,
  constraint reservations_reserved_check check (prompt_bound >= 0 and reserved >= prompt_bound)
) with (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.02)
-- ;;
create table revocations (
  id uuid primary key,
  tenant_id uuid not null references tenants,
  api_key_id uuid references api_keys,
  action text not null constraint revocations_action_check
    check (action in ('revoked', 'suspended', 'resumed', 'rotated')),
  actor text not null,
  reason text not null,
  at timestamptz not null default now()
)
-- ;;
create index revocations_at_idx on revocations (at)
-- ;;
create table processes (
  id uuid primary key,
  host text not null,
  pid integer not null,
  started_at timestamptz not null default now(),
  heartbeat_at timestamptz not null default now()
)
-- ;;
create table audit_log (
  id uuid not null,
  recorded_on date not null default ((now() at time zone 'UTC')::date),
  tenant_id uuid not null,
  api_key_id uuid not null,
  request_id text not null,
  endpoint text not null,
  model text not null,
  outcome text not null,
  status smallint not null,
  reason text not null default '',
  prompt_tokens bigint not null default 0,
  output_tokens bigint not null default 0,
  charged_tokens bigint not null default 0,
  estimated boolean not null default false,
  reserved_tokens bigint not null default 0,
  first_byte_ms integer,
  duration_ms integer,
  admitted_at timestamptz not null,
  address text not null,
  user_agent text not null,
  primary key (id, recorded_on)
) partition by range (recorded_on)
-- ;;
create index audit_log_tenant_id_admitted_at_idx on audit_log (tenant_id, admitted_at)
-- ;;
-- a settlement never fails for want of a partition
create table audit_log_default partition of audit_log default
