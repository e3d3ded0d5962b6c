"""The gateway processes that live, as recovery sees them."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, exists, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from neuronetz_gateway.db.tables import processes, reservations


class Processes:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def heartbeat(self, process_id: UUID, *, host: str, pid: int) -> datetime | None:
        """Says that a process lives; registers it where it is not known (any more). The moment, by Postgres.

        None where recovery took it for dead: under this id it can reserve nothing more.
        """
        statement = insert(processes).values(id=process_id, host=host, pid=pid)
        alive = await self._connection.execute(
            statement.on_conflict_do_update(
                index_elements=[processes.c.id],
                set_={"heartbeat_at": func.now()},
                where=processes.c.swept_at.is_(None),
            ).returning(processes.c.heartbeat_at)
        )
        at: datetime | None = alive.scalar_one_or_none()
        return at

    async def remove_idle(self, process_id: UUID) -> bool:
        """Forgets a process that holds no reservation; one that does stays for recovery to find."""
        held = exists(select(reservations.c.id).where(reservations.c.process_id == process_id))
        removed = await self._connection.execute(delete(processes).where(processes.c.id == process_id, ~held))
        return removed.rowcount == 1
