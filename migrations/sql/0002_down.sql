-- by the trigger of this revision, which makes every cached principal that still may stale
update api_keys set may_load_models = false where may_load_models
-- ;;
-- as in 0001_versions.sql
create function api_keys_version_r1() returns trigger language plpgsql as $$
begin
  if (new.id, new.tenant_id, new.name, new.prefix, new.allowed_models, new.expires_at, new.revoked_at)
      is distinct from (old.id, old.tenant_id, old.name, old.prefix, old.allowed_models, old.expires_at, old.revoked_at)
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
create trigger api_keys_version before update on api_keys for each row execute function api_keys_version_r1()
-- ;;
drop function api_keys_version_r2
-- ;;
alter table api_keys drop column may_load_models
