-- A key that may be used from a few networks alone must not become one that may be used from anywhere.
-- One that a rotation lets live on for a while would be that for as long.
update api_keys set revoked_at = now() where allowed_networks is not null and (revoked_at is null or revoked_at > now())
-- ;;
-- Nor one that was held to less become one that may do all of it: the release before bounds neither images nor texts to
-- embed, gives up to 20 logprobs, takes the context of any key, keeps what a key loads for as long as it likes. It does
-- leave out num_ctx, raw, any other keep_alive, for all keys.
update api_keys as k set revoked_at = now() from key_policies as p
  where p.api_key_id = k.id and (k.revoked_at is null or k.revoked_at > now())
    and (p.max_images is not null or p.max_embedding_inputs is not null or p.max_logprobs is not null
      or p.allow_context = false or p.max_keep_alive_seconds is not null and k.may_load_models)
-- ;;
drop table key_uses
-- ;;
-- Versions move, so that no cache still knows the policies of before once this is built again.
delete from key_policies
-- ;;
drop table key_policies
-- ;;
drop function key_policies_version_r1
-- ;;
drop trigger key_limits_truncated on key_limits
-- ;;
drop function key_rows_truncated_r1
-- ;;
-- as in 0003_versions.sql
create function api_keys_version_r3() returns trigger language plpgsql as $$
begin
  if (new.id, new.tenant_id, new.name, new.prefix, new.allowed_models, new.expires_at, new.revoked_at, new.may_load_models,
      new.prompt_log_seconds)
      is distinct from
      (old.id, old.tenant_id, old.name, old.prefix, old.allowed_models, old.expires_at, old.revoked_at, old.may_load_models,
       old.prompt_log_seconds)
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
create trigger api_keys_version before update on api_keys for each row execute function api_keys_version_r3()
-- ;;
drop function api_keys_version_r4
-- ;;
alter table api_keys drop column allowed_networks
