"""What operators did, as rows of the audit log."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class Note:
    """Somebody did something with what belongs to a tenant or one of its keys; about names a request's row."""

    id: UUID
    tenant_id: UUID
    api_key_id: UUID | None
    about: str
    reason: str
    actor: str
    at: datetime


_ADD = text("select audit_note_r1(:writer, :id, :tenant_id, :api_key_id, :about, cast(:reason as text), :actor, :at)")


class AuditNotes:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, note: Note, *, writer: UUID) -> None:
        """Writes a note at the end of a writer's chain."""
        await self._connection.execute(
            _ADD,
            {
                "writer": writer,
                "id": note.id,
                "tenant_id": note.tenant_id,
                "api_key_id": note.api_key_id,
                "about": note.about,
                "reason": note.reason,
                "actor": note.actor,
                "at": note.at,
            },
        )
