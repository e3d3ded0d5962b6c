"""API keys in Postgres, read together with what their tenant allows."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Row, Select, Text, Update, any_, bindparam, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from neuronetz_gateway.db.tables import api_keys, key_limits, key_policies, key_uses, tenants
from neuronetz_gateway.domain.api_key import ApiKey, KeyCredential
from neuronetz_gateway.domain.limit import Limits
from neuronetz_gateway.domain.principal import Principal, effective_models
from neuronetz_gateway.domain.tenant import TenantStatus
from neuronetz_gateway.errors import ConflictError, NotFoundError
from neuronetz_gateway.repositories.key_policies import OWN_POLICY, policy_in


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What authentication needs of one key: how to verify it, who it is then, whether it may be used at all."""

    credential: KeyCredential
    principal: Principal
    revoked_at: datetime | None
    tenant_status: TenantStatus


class ApiKeys:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(
        self,
        tenant_id: UUID,
        key_id: UUID,
        *,
        name: str,
        prefix: str,
        secret_hash: str,
        digest: bytes,
        pepper_id: str,
        created_at: datetime,
        allowed_models: Iterable[str] | None = None,
        may_load_models: bool = False,
        prompt_log_seconds: int | None = None,
        allowed_networks: Iterable[str] | None = None,
        expires_at: datetime | None = None,
    ) -> ApiKey:
        """Adds a key; raises ConflictError where the prefix is taken."""
        statement = (
            insert(api_keys)
            .values(
                id=key_id,
                tenant_id=tenant_id,
                name=name,
                prefix=prefix,
                secret_hash=secret_hash,
                digest=digest,
                pepper_id=pepper_id,
                allowed_models=_model_list(allowed_models),
                may_load_models=may_load_models,
                prompt_log_seconds=prompt_log_seconds,
                allowed_networks=None if allowed_networks is None else [*allowed_networks],
                expires_at=expires_at,
                created_at=created_at,
            )
            .on_conflict_do_nothing(index_elements=[api_keys.c.prefix])
            .returning(api_keys.c.id)
        )
        if (await self._connection.execute(statement)).one_or_none() is None:
            raise ConflictError(f"An API key with the prefix '{prefix}' exists already.")
        return await self.get(tenant_id, key_id)

    async def get(self, tenant_id: UUID, key_id: UUID) -> ApiKey:
        """The key; raises NotFoundError."""
        statement = _keys().where(api_keys.c.tenant_id == tenant_id, api_keys.c.id == key_id)
        return _found((await self._connection.execute(statement)).one_or_none(), str(key_id))

    async def list(self, tenant_id: UUID) -> list[ApiKey]:
        """All keys of a tenant, the oldest first."""
        statement = _keys().where(api_keys.c.tenant_id == tenant_id).order_by(api_keys.c.created_at, api_keys.c.id)
        return [_key(row) for row in (await self._connection.execute(statement)).all()]

    async def get_by_prefix(self, prefix: str) -> ApiKey:
        """The key of that prefix, whosever it is; raises NotFoundError."""
        return _found(
            (await self._connection.execute(_keys().where(api_keys.c.prefix == prefix))).one_or_none(), prefix
        )

    async def find_by_prefix(self, prefix: str) -> KeyRecord | None:
        """The key of that prefix flattened with its tenant, also when it is revoked, expired or suspended."""
        return (await self.find_by_prefixes([prefix])).get(prefix)

    async def find_by_prefixes(self, prefixes: Collection[str]) -> dict[str, KeyRecord]:
        """The same for many at once, by prefix; a prefix that nobody has is left out.

        One statement for all: a flood of bogus keys then costs a few microseconds a key (A8).
        """
        rows = await self._connection.execute(
            _RECORDS.where(api_keys.c.prefix == any_(_PREFIXES)), {"prefixes": list(prefixes)}
        )
        return {row.prefix: _record(row) for row in rows}

    async def revoke(self, tenant_id: UUID, key_id: UUID, at: datetime) -> ApiKey:
        """Revokes; a key that was revoked before keeps its moment. Raises NotFoundError."""
        statement = _update(tenant_id, key_id).where(api_keys.c.revoked_at.is_(None)).values(revoked_at=at)
        await self._connection.execute(statement)
        return await self.get(tenant_id, key_id)

    async def set_expiry(self, tenant_id: UUID, key_id: UUID, expires_at: datetime | None) -> ApiKey:
        """Sets or takes away the end of a key's life; raises NotFoundError."""
        await self._connection.execute(_update(tenant_id, key_id).values(expires_at=expires_at))
        return await self.get(tenant_id, key_id)

    async def set_models(self, tenant_id: UUID, key_id: UUID, models: Iterable[str] | None) -> ApiKey:
        """Replaces the allow-list: None inherits the tenant's, an empty one denies; raises NotFoundError."""
        await self._connection.execute(_update(tenant_id, key_id).values(allowed_models=_model_list(models)))
        return await self.get(tenant_id, key_id)

    async def set_loading(self, tenant_id: UUID, key_id: UUID, *, allowed: bool) -> ApiKey:
        """Says whether a key may load and unload models; raises NotFoundError."""
        await self._connection.execute(_update(tenant_id, key_id).values(may_load_models=allowed))
        return await self.get(tenant_id, key_id)

    async def set_prompt_log(self, tenant_id: UUID, key_id: UUID, seconds: int | None) -> ApiKey:
        """Says for how long the prompts of a key are kept, None not at all; raises NotFoundError."""
        await self._connection.execute(_update(tenant_id, key_id).values(prompt_log_seconds=seconds))
        return await self.get(tenant_id, key_id)

    async def set_networks(self, tenant_id: UUID, key_id: UUID, networks: Iterable[str] | None) -> ApiKey:
        """Says from where a key may be used, None from anywhere; raises NotFoundError."""
        values = None if networks is None else [*networks]
        await self._connection.execute(_update(tenant_id, key_id).values(allowed_networks=values))
        return await self.get(tenant_id, key_id)

    async def set_proven(
        self,
        tenant_id: UUID,
        key_id: UUID,
        at: datetime,
        *,
        verified_hash: str,
        secret_hash: str | None = None,
        digest: bytes | None = None,
        pepper_id: str | None = None,
    ) -> bool:
        """Records a good verification, with the hash or the digest made anew on the way where they were outdated.

        Nothing, which it says, where the stored hash is no longer the one that was verified: that proof is void.
        """
        renewed = {"secret_hash": secret_hash, "digest": digest, "pepper_id": pepper_id}
        values = {name: value for name, value in renewed.items() if value is not None}
        statement = _update(tenant_id, key_id).where(api_keys.c.secret_hash == verified_hash)
        recorded = await self._connection.execute(statement.values(proven_at=at, **values))
        return recorded.rowcount == 1


_PREFIXES = bindparam("prefixes", type_=ARRAY(Text))
_RECORDS = (
    select(
        api_keys,
        tenants.c.name.label("tenant_name"),
        tenants.c.version.label("tenant_version"),
        tenants.c.status.label("tenant_status"),
        tenants.c.time_zone,
        tenants.c.allow_all_models,
        tenants.c.allowed_models.label("tenant_models"),
        *(tenants.c[axis].label(f"tenant_{axis}") for axis in ("rpm", "tpm", "concurrent", "output_cap")),
        *(key_limits.c[axis] for axis in ("rpm", "tpm", "concurrent", "output_cap")),
        *OWN_POLICY,
    )
    .join_from(api_keys, tenants, tenants.c.id == api_keys.c.tenant_id)
    .outerjoin(key_limits, key_limits.c.api_key_id == api_keys.c.id)
    .outerjoin(key_policies, key_policies.c.api_key_id == api_keys.c.id)
)


def _keys() -> Select[Any]:
    return (
        select(
            api_keys,
            *(key_limits.c[axis] for axis in ("rpm", "tpm", "concurrent", "output_cap")),
            *OWN_POLICY,
            key_uses.c.last_used_at,
        )
        .outerjoin_from(api_keys, key_limits, key_limits.c.api_key_id == api_keys.c.id)
        .outerjoin(key_policies, key_policies.c.api_key_id == api_keys.c.id)
        .outerjoin(key_uses, key_uses.c.api_key_id == api_keys.c.id)
    )


def _update(tenant_id: UUID, key_id: UUID) -> Update:
    return update(api_keys).where(api_keys.c.tenant_id == tenant_id, api_keys.c.id == key_id)


def _model_list(models: Iterable[str] | None) -> list[str] | None:
    return None if models is None else sorted(set(models))


def _models(names: list[str] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(names)


def _networks(networks: list[object] | None) -> tuple[str, ...] | None:
    return None if networks is None else tuple(map(str, networks))


def _found(row: Row[Any] | None, sought: str) -> ApiKey:
    if row is None:
        raise NotFoundError(f"There is no API key '{sought}'.")
    return _key(row)


def _key(row: Row[Any]) -> ApiKey:
    return ApiKey(
        id=row.id,
        tenant_id=row.tenant_id,
        name=row.name,
        prefix=row.prefix,
        limits=Limits(rpm=row.rpm, tpm=row.tpm, concurrent=row.concurrent, output_cap=row.output_cap),
        allowed_models=_models(row.allowed_models),
        may_load_models=row.may_load_models,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        created_at=row.created_at,
        version=row.version,
        last_used_at=row.last_used_at,
        prompt_log_seconds=row.prompt_log_seconds,
        policy=policy_in(row),
        allowed_networks=_networks(row.allowed_networks),
    )


def _record(row: Row[Any]) -> KeyRecord:
    allow_all, allowed = effective_models(
        tenant_allows_all=row.allow_all_models,
        tenant_models=frozenset(row.tenant_models),
        key_models=_models(row.allowed_models),
    )
    principal = Principal(
        tenant_id=row.tenant_id,
        tenant_name=row.tenant_name,
        tenant_version=row.tenant_version,
        api_key_id=row.id,
        key_prefix=row.prefix,
        key_name=row.name,
        key_version=row.version,
        tenant_limits=Limits(
            rpm=row.tenant_rpm,
            tpm=row.tenant_tpm,
            concurrent=row.tenant_concurrent,
            output_cap=row.tenant_output_cap,
        ),
        key_limits=Limits(rpm=row.rpm, tpm=row.tpm, concurrent=row.concurrent, output_cap=row.output_cap),
        allow_all_models=allow_all,
        allowed_models=allowed,
        time_zone=row.time_zone,
        expires_at=row.expires_at,
        may_load_models=row.may_load_models,
        prompt_log_seconds=row.prompt_log_seconds,
        policy=policy_in(row),
        allowed_networks=_networks(row.allowed_networks),
    )
    credential = KeyCredential(
        api_key_id=row.id,
        secret_hash=row.secret_hash,
        digest=row.digest,
        pepper_id=row.pepper_id,
        proven_at=row.proven_at,
    )
    return KeyRecord(credential, principal, row.revoked_at, TenantStatus(row.tenant_status))
