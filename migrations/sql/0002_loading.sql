-- Whether an empty prompt of a key loads or unloads a model, for everybody at once: no key may unless it is told so.
alter table api_keys add column may_load_models boolean not null default false
-- ;;
-- proven_at, the hash and the digest are the gateway's own bookkeeping: they change on good use. Another digest under
-- the same pepper, though, is another secret.
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
drop function api_keys_version_r1
