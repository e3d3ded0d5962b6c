"""Making keys, taking them away, changing what they may do."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from neuronetz_gateway.db.database import Database
from neuronetz_gateway.domain.api_key import PREFIX_LENGTH, ApiKey, PlainKey
from neuronetz_gateway.domain.limit import LimitChanges, Limits
from neuronetz_gateway.errors import ConflictError, NotFoundError
from neuronetz_gateway.key_hashing import KeyHasher
from neuronetz_gateway.repositories.revocations import RevocationAction
from neuronetz_gateway.repositories.unit_of_work import UnitOfWork, unit_of_work

_NO_LIMITS = Limits()


class IssuedKey(NamedTuple):
    """A new key with the only copy of its secret, to be shown once."""

    api_key: ApiKey
    plain: PlainKey


class KeyRegistry:
    """Every method raises NotFoundError for an unknown tenant or prefix, UnavailableError while Postgres is away.

    `choice` picks a character at random (secrets.choice). Models are canonical names; None inherits, empty denies.
    """

    def __init__(
        self,
        database: Database,
        hasher: KeyHasher,
        *,
        choice: Callable[[str], str],
        now: Callable[[], datetime],
        new_id: Callable[[], UUID],
    ) -> None:
        self._database = database
        self._hasher = hasher
        self._choice = choice
        self._now = now
        self._new_id = new_id

    async def issue(
        self,
        tenant_name: str,
        name: str,
        *,
        limits: Limits = _NO_LIMITS,
        allowed_models: frozenset[str] | None = None,
        allowed_networks: tuple[str, ...] | None = None,
        may_load_models: bool = False,
        expires_at: datetime | None = None,
    ) -> IssuedKey:
        """A new key; its limits and models only narrow those of its tenant.

        may_load_models lets it load and unload those models, which no key may unless it is told so.
        """
        plain, secret_hash = await self._minted()
        async with unit_of_work(self._database) as uow:
            tenant = await uow.tenants.get_by_name(tenant_name)
            key = await self._add(
                uow,
                tenant.id,
                plain,
                secret_hash,
                name=name,
                allowed_models=allowed_models,
                may_load_models=may_load_models,
                allowed_networks=allowed_networks,
                expires_at=expires_at,
            )
            return IssuedKey(await _limited(uow, key, asdict(limits)), plain)

    async def list(self, tenant_name: str) -> list[ApiKey]:
        """All keys of a tenant, the oldest first, the dead ones included."""
        async with unit_of_work(self._database) as uow:
            tenant = await uow.tenants.get_by_name(tenant_name)
            return await uow.api_keys.list(tenant.id)

    async def revoke(self, prefix: str, *, actor: str, reason: str) -> ApiKey:
        """Refuses a key from the next request on, for ever; one that was revoked before stays as it is."""
        async with unit_of_work(self._database) as uow:
            key = await _by_prefix(uow, prefix)
            if key.revoked_at is not None:
                return key
            await self._write_down(uow, key, RevocationAction.REVOKED, actor, reason)
            return await uow.api_keys.revoke(key.tenant_id, key.id, self._now())

    async def rotate(self, prefix: str, *, overlap_seconds: float, actor: str) -> IssuedKey:
        """A new key that has all of another's but its secret; the other one dies after the overlap.

        The budgets of the new key begin unused. Raises ConflictError for a key that is dead already.
        """
        plain, secret_hash = await self._minted()
        async with unit_of_work(self._database) as uow:
            old = await _by_prefix(uow, prefix)
            now = self._now()
            if old.revoked_at is not None or (old.expires_at is not None and old.expires_at <= now):
                raise ConflictError(f"The key {old.prefix} is revoked or expired; create-key makes a new one.")
            new = await self._add(
                uow,
                old.tenant_id,
                plain,
                secret_hash,
                name=old.name,
                allowed_models=old.allowed_models,
                may_load_models=old.may_load_models,
                prompt_log_seconds=old.prompt_log_seconds,
                allowed_networks=old.allowed_networks,
                expires_at=old.expires_at,
            )
            new = await _limited(uow, new, asdict(old.limits))
            if old.policy is not None:
                await uow.key_policies.set(new.tenant_id, new.id, asdict(old.policy))
                new = await uow.api_keys.get(new.tenant_id, new.id)
            for budget in await uow.budgets.list(old.tenant_id, old.id):
                await uow.budgets.set(old.tenant_id, "key", new.id, budget.period, budget.limit_tokens)
            end = now + timedelta(seconds=overlap_seconds)
            if old.expires_at is None or end < old.expires_at:
                await uow.api_keys.set_expiry(old.tenant_id, old.id, end)
            await self._write_down(uow, old, RevocationAction.ROTATED, actor, f"replaced by {new.prefix}")
            return IssuedKey(new, plain)

    async def set_limits(self, prefix: str, changes: LimitChanges) -> ApiKey:
        """Changes the named limits (rpm, tpm, concurrent, output_cap), leaves the others; None takes one away."""
        async with unit_of_work(self._database) as uow:
            key = await _by_prefix(uow, prefix)
            return await _limited(uow, key, changes)

    async def set_models(self, prefix: str, models: frozenset[str] | None) -> ApiKey:
        """Replaces the models that a key may use."""
        async with unit_of_work(self._database) as uow:
            key = await _by_prefix(uow, prefix)
            return await uow.api_keys.set_models(key.tenant_id, key.id, models)

    async def set_loading(self, prefix: str, *, allowed: bool) -> ApiKey:
        """Says whether a key may load and unload the models that it may use."""
        async with unit_of_work(self._database) as uow:
            key = await _by_prefix(uow, prefix)
            return await uow.api_keys.set_loading(key.tenant_id, key.id, allowed=allowed)

    async def set_networks(self, prefix: str, networks: tuple[str, ...] | None) -> ApiKey:
        """Says from where a key may be used (canonical networks), None from anywhere."""
        async with unit_of_work(self._database) as uow:
            key = await _by_prefix(uow, prefix)
            return await uow.api_keys.set_networks(key.tenant_id, key.id, networks)

    async def set_policy(self, prefix: str, changes: Mapping[str, int | bool | None], *, afresh: bool) -> ApiKey:
        """Changes the named parts of what a key may ask for other than the settings say; None is as they say.

        `afresh` takes away all it had first.
        """
        async with unit_of_work(self._database) as uow:
            key = await _by_prefix(uow, prefix)
            if afresh:
                await uow.key_policies.clear(key.tenant_id, key.id)
            if changes:
                await uow.key_policies.set(key.tenant_id, key.id, changes)
            return await uow.api_keys.get(key.tenant_id, key.id)

    async def _minted(self) -> tuple[PlainKey, str]:
        plain = PlainKey.issue(self._choice)
        # Before the transaction: Argon2id takes its time, and no session is held while it does.
        return plain, await asyncio.to_thread(self._hasher.hash, plain)

    async def _add(
        self,
        uow: UnitOfWork,
        tenant_id: UUID,
        plain: PlainKey,
        secret_hash: str,
        *,
        name: str,
        allowed_models: frozenset[str] | None,
        may_load_models: bool,
        expires_at: datetime | None,
        prompt_log_seconds: int | None = None,
        allowed_networks: Iterable[str] | None = None,
    ) -> ApiKey:
        return await uow.api_keys.add(
            tenant_id,
            self._new_id(),
            name=name,
            prefix=plain.prefix,
            secret_hash=secret_hash,
            digest=self._hasher.digest(plain),
            pepper_id=self._hasher.pepper_id,
            created_at=self._now(),
            allowed_models=allowed_models,
            may_load_models=may_load_models,
            prompt_log_seconds=prompt_log_seconds,
            allowed_networks=allowed_networks,
            expires_at=expires_at,
        )

    async def _write_down(
        self, uow: UnitOfWork, key: ApiKey, action: RevocationAction, actor: str, reason: str
    ) -> None:
        await uow.revocations.add(
            key.tenant_id, self._new_id(), api_key_id=key.id, action=action, actor=actor, reason=reason, at=self._now()
        )


async def _by_prefix(uow: UnitOfWork, prefix: str) -> ApiKey:
    # A whole key given as its prefix must not come back in a message.
    prefix = prefix[:PREFIX_LENGTH]
    try:
        return await uow.api_keys.get_by_prefix(prefix)
    except NotFoundError:
        raise NotFoundError(
            f"There is no key with the prefix {prefix}; list-keys --tenant NAME shows them.", field="prefix"
        ) from None


async def _limited(uow: UnitOfWork, key: ApiKey, limits: LimitChanges) -> ApiKey:
    if replace(key.limits, **limits) == key.limits:
        return key
    await uow.key_limits.set(key.tenant_id, key.id, limits)
    return await uow.api_keys.get(key.tenant_id, key.id)
