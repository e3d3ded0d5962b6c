"""When keys were last used, from where."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


class KeyUse(NamedTuple):
    """The latest use of a key that one process knows of; address is None where it has none."""

    api_key_id: UUID
    used_at: datetime
    address: str | None


# In the order of the ids, so that two processes never wait for each other; a key that is gone meanwhile is left out.
_RECORD = text("""
insert into key_uses (api_key_id, last_used_at, last_address)
select k.id, u.used_at, cast(u.address as inet)
from unnest(cast(:ids as uuid[]), cast(:moments as timestamptz[]), cast(:addresses as text[]))
  as u (id, used_at, address)
join api_keys k on k.id = u.id
order by k.id
on conflict (api_key_id) do update set last_used_at = excluded.last_used_at, last_address = excluded.last_address
where key_uses.last_used_at < excluded.last_used_at
""")


class KeyUses:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def record(self, uses: Sequence[KeyUse]) -> None:
        """Keeps the later of what is known and what is told of each key."""
        await self._connection.execute(
            _RECORD,
            {
                "ids": [use.api_key_id for use in uses],
                "moments": [use.used_at for use in uses],
                "addresses": [use.address for use in uses],
            },
        )
