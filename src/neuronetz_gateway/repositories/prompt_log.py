"""Sealed prompts in Postgres."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from neuronetz_gateway.db.tables import prompt_log
from neuronetz_gateway.domain.prompt import PromptRecord, Sealed
from neuronetz_gateway.errors import NotFoundError


class PromptLogs:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, records: Sequence[PromptRecord]) -> None:
        """Keeps sealed prompts; one that is there already stays as it is."""
        rows = [_values(record, record.sealed) for record in records if record.sealed is not None]
        await self._connection.execute(insert(prompt_log).values(rows).on_conflict_do_nothing())

    async def get(self, prompt_id: UUID, now: datetime) -> PromptRecord:
        """One prompt whose time is not over; raises NotFoundError, also where it is over."""
        statement = select(prompt_log).where(prompt_log.c.id == prompt_id, prompt_log.c.expires_at > now)
        row = (await self._connection.execute(statement)).one_or_none()
        if row is None:
            raise NotFoundError(f"No prompt is kept under {prompt_id}: none was logged, or its time is over.")
        return _record(row)

    async def list(
        self, tenant_id: UUID, now: datetime, *, api_key_id: UUID | None = None, limit: int
    ) -> list[PromptRecord]:
        """The newest prompts of a tenant whose time is not over, of one key where it is given, without their text."""
        statement = (
            select(*(column for column in prompt_log.c if column.name not in {"key_id", "nonce", "sealed"}))
            .where(prompt_log.c.tenant_id == tenant_id, prompt_log.c.expires_at > now)
            .order_by(prompt_log.c.admitted_at.desc(), prompt_log.c.id.desc())
            .limit(limit)
        )
        if api_key_id is not None:
            statement = statement.where(prompt_log.c.api_key_id == api_key_id)
        return [_record(row) for row in (await self._connection.execute(statement)).all()]

    async def erase(self, tenant_id: UUID, *, api_key_id: UUID | None = None) -> int:
        """Deletes the prompts of a tenant, of one key where it is given; how many."""
        statement = delete(prompt_log).where(prompt_log.c.tenant_id == tenant_id)
        if api_key_id is not None:
            statement = statement.where(prompt_log.c.api_key_id == api_key_id)
        return (await self._connection.execute(statement)).rowcount


def _values(record: PromptRecord, sealed: Sealed) -> dict[str, Any]:
    return {
        "id": record.id,
        "expires_on": record.expires_at.astimezone(UTC).date(),
        "tenant_id": record.tenant_id,
        "api_key_id": record.api_key_id,
        "model": record.model,
        "endpoint": record.endpoint,
        "request_id": record.request_id,
        "admitted_at": record.admitted_at,
        "expires_at": record.expires_at,
        "prompt_bytes": record.prompt_bytes,
        "key_id": sealed.key_id,
        "nonce": sealed.nonce,
        "sealed": sealed.text,
    }


def _record(row: Row[Any]) -> PromptRecord:
    held = row._mapping  # noqa: SLF001 - SQLAlchemy's own public name for a row as a mapping
    return PromptRecord(
        id=row.id,
        tenant_id=row.tenant_id,
        api_key_id=row.api_key_id,
        model=row.model,
        endpoint=row.endpoint,
        request_id=row.request_id,
        admitted_at=row.admitted_at,
        expires_at=row.expires_at,
        prompt_bytes=row.prompt_bytes,
        sealed=Sealed(row.key_id, row.nonce, row.sealed) if "sealed" in held else None,
    )
