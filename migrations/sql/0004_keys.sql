-- Null: from anywhere. Empty: from nowhere. A list of networks, each of which is one.
alter table api_keys add column allowed_networks cidr[]
  constraint api_keys_allowed_networks_check
    check (coalesce(array_ndims(allowed_networks), 1) = 1 and array_position(allowed_networks, null) is null)
-- ;;
-- What a key may ask of the model server beyond or below the settings; null is as the settings say.
create table key_policies (
  api_key_id uuid primary key,
  tenant_id uuid not null,
  max_keep_alive_seconds integer constraint key_policies_max_keep_alive_seconds_check check (max_keep_alive_seconds >= 0),
  max_num_ctx integer constraint key_policies_max_num_ctx_check check (max_num_ctx >= 0),
  max_images integer constraint key_policies_max_images_check check (max_images >= 0),
  max_embedding_inputs integer constraint key_policies_max_embedding_inputs_check check (max_embedding_inputs >= 1),
  max_logprobs integer constraint key_policies_max_logprobs_check check (max_logprobs between 0 and 20),
  allow_raw boolean,
  allow_context boolean,
  foreign key (api_key_id, tenant_id) references api_keys (id, tenant_id) on delete cascade
)
-- ;;
create function key_policies_version_r1() returns trigger language plpgsql as $$
begin
  update api_keys set version = version + 1
    where id in (case when tg_op <> 'INSERT' then old.api_key_id end, case when tg_op <> 'DELETE' then new.api_key_id end);
  return null;
end $$
-- ;;
create trigger key_policies_version after insert or update or delete on key_policies
  for each row execute function key_policies_version_r1()
-- ;;
-- TRUNCATE fires no trigger of a row, nor does it say whose rows they were: the version of every key moves.
create function key_rows_truncated_r1() returns trigger language plpgsql as $$
begin
  update api_keys set version = version + 1;
  return null;
end $$
-- ;;
create trigger key_policies_truncated after truncate on key_policies
  for each statement execute function key_rows_truncated_r1()
-- ;;
create trigger key_limits_truncated after truncate on key_limits
  for each statement execute function key_rows_truncated_r1()
-- ;;
-- Apart from api_keys, so that no good use of a key touches a row that the ledger reads.
create table key_uses (
  api_key_id uuid primary key references api_keys on delete cascade,
  last_used_at timestamptz not null,
  last_address inet
)
-- ;;
-- As api_keys_version_r3, with the networks.
create function api_keys_version_r4() returns trigger language plpgsql as $$
begin
  if (new.id, new.tenant_id, new.name, new.prefix, new.allowed_models, new.expires_at, new.revoked_at, new.may_load_models,
      new.prompt_log_seconds, new.allowed_networks)
      is distinct from
      (old.id, old.tenant_id, old.name, old.prefix, old.allowed_models, old.expires_at, old.revoked_at, old.may_load_models,
       old.prompt_log_seconds, old.allowed_networks)
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
create trigger api_keys_version before update on api_keys for each row execute function api_keys_version_r4()
-- ;;
drop function api_keys_version_r3
