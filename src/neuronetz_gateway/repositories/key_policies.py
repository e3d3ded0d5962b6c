"""What single keys may ask of the model server other than the settings say."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any
from uuid import UUID

from sqlalchemy import Row, delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from neuronetz_gateway.db.tables import api_keys, key_policies
from neuronetz_gateway.domain.request_policy import KeyPolicy
from neuronetz_gateway.errors import NotFoundError

_NAMES = tuple(field.name for field in fields(KeyPolicy))
_NOTHING_OF_ITS_OWN = KeyPolicy()

OWN_POLICY = tuple(key_policies.c[name] for name in _NAMES)
"""The columns to select beside those of a key, for policy_in."""


def policy_in(row: Row[Any]) -> KeyPolicy | None:
    """The policy in a row that has OWN_POLICY, None where the key has none of its own."""
    policy = KeyPolicy(**{name: getattr(row, name) for name in _NAMES})
    return None if policy == _NOTHING_OF_ITS_OWN else policy


class KeyPolicies:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def set(self, tenant_id: UUID, key_id: UUID, changes: Mapping[str, int | bool | None]) -> None:
        """Changes the named parts of a key's policy; None is as the settings say.

        Raises NotFoundError where the tenant has no such key.
        """
        owned = select(api_keys.c.id).where(api_keys.c.tenant_id == tenant_id, api_keys.c.id == key_id)
        if (await self._connection.execute(owned)).one_or_none() is None:
            raise NotFoundError(f"There is no API key '{key_id}'.")
        values = dict(changes)
        statement = insert(key_policies).values(api_key_id=key_id, tenant_id=tenant_id, **values)
        await self._connection.execute(
            statement.on_conflict_do_update(index_elements=[key_policies.c.api_key_id], set_=values)
        )

    async def clear(self, tenant_id: UUID, key_id: UUID) -> None:
        """Takes away all that a key has of its own."""
        await self._connection.execute(
            delete(key_policies).where(key_policies.c.tenant_id == tenant_id, key_policies.c.api_key_id == key_id)
        )
