"""Corrections of what was used."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from neuronetz_gateway.db.tables import audit_log
from neuronetz_gateway.domain.audit import Outcome
from neuronetz_gateway.domain.budget import Windows


@dataclass(frozen=True, slots=True)
class Adjustment:
    """`tokens` more used (fewer below 0) in the windows of a tenant, with those of one of its keys where it is named.

    about is the id of the row that it corrects, empty without one; model is that row's.
    """

    id: UUID
    api_key_id: UUID | None
    tokens: int
    windows: Windows
    about: str
    model: str
    reason: str
    actor: str
    at: datetime


@dataclass(frozen=True, slots=True)
class ChargedRow:
    """What a correction needs of the row that it is about; windows is None where the row does not name them."""

    id: UUID
    tenant_id: UUID | None
    api_key_id: UUID | None
    model: str
    outcome: Outcome
    charged_tokens: int
    admitted_at: datetime
    windows: Windows | None


_ADJUST = text(
    "select adjust_r1(:writer, :id, :tenant_id, :api_key_id, :tokens, :day, :month, :about, :model,"
    " cast(:reason as text), :actor, :at)"
)


class Adjustments:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, tenant_id: UUID, adjustment: Adjustment, *, writer: UUID) -> str | None:
        """Counts a correction with its audit row; else, changing nothing, the window it would take below nothing.

        That is named as scope and period (`key.daily`). The windows are locked until the transaction ends either way.
        """
        short = await self._connection.scalar(
            _ADJUST,
            {
                "writer": writer,
                "id": adjustment.id,
                "tenant_id": tenant_id,
                "api_key_id": adjustment.api_key_id,
                "tokens": adjustment.tokens,
                "day": adjustment.windows.day,
                "month": adjustment.windows.month,
                "about": adjustment.about,
                "model": adjustment.model,
                "reason": adjustment.reason,
                "actor": adjustment.actor,
                "at": adjustment.at,
            },
        )
        return None if short is None else str(short)

    async def corrected(self, tenant_id: UUID, row_id: UUID) -> int:
        """By how many tokens a row has been corrected by now."""
        total = await self._connection.scalar(
            select(func.coalesce(func.sum(audit_log.c.charged_tokens), 0)).where(
                audit_log.c.tenant_id == tenant_id,
                audit_log.c.outcome == Outcome.ADJUSTED.value,
                audit_log.c.request_id == str(row_id),
            )
        )
        return int(total or 0)

    async def find_row(self, row_id: UUID) -> ChargedRow | None:
        """The row of that id, whosever it is."""
        statement = select(audit_log).where(audit_log.c.id == row_id).order_by(audit_log.c.recorded_on).limit(1)
        row = (await self._connection.execute(statement)).one_or_none()
        if row is None:
            return None
        return ChargedRow(
            id=row.id,
            tenant_id=row.tenant_id,
            api_key_id=row.api_key_id,
            model=row.model,
            outcome=Outcome(row.outcome),
            charged_tokens=row.charged_tokens,
            admitted_at=row.admitted_at,
            windows=None if row.day is None or row.month is None else Windows(day=row.day, month=row.month),
        )
