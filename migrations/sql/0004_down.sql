-- A key that may be used from a few networks alone must not become one that may be used from anywhere.
update api_keys set revoked_at = now() where allowed_networks is not null and revoked_at is null
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
