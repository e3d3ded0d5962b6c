-- Whoever changes a tenant or a key, by whatever way, makes every cached principal of it stale.
create function tenants_version_r1() returns trigger language plpgsql as $$
begin
  if to_jsonb(new) - 'version' - 'created_at' is distinct from to_jsonb(old) - 'version' - 'created_at' then
    new.version := greatest(new.version, old.version + 1);
  else
    new.version := greatest(new.version, old.version);
  end if;
  return new;
end $$
-- ;;
create trigger tenants_version before update on tenants for each row execute function tenants_version_r1()
-- ;;
-- proven_at, the hash and the digest are the gateway's own bookkeeping: they change on good use. Another digest under
-- the same pepper, though, is another secret.
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
create trigger api_keys_version before update on api_keys for each row execute function api_keys_version_r1()
-- ;;
create function key_limits_version_r1() returns trigger language plpgsql as $$
begin
  update api_keys set version = version + 1
    where id in (case when tg_op <> 'INSERT' then old.api_key_id end, case when tg_op <> 'DELETE' then new.api_key_id end);
  return null;
end $$
-- ;;
create trigger key_limits_version after insert or update or delete on key_limits
  for each row execute function key_limits_version_r1()
