"""The audit chains as checkpoints, retention see them: heads, what was signed of them, days to drop."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import Row, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from neuronetz_gateway.db.tables import audit_checkpoints, audit_heads, audit_listed
from neuronetz_gateway.domain.audit_chain import HASH_BYTES, ChainName, Head
from neuronetz_gateway.domain.checkpoint import SignedCheckpoint

# A head that no chain can have is none to sign; the verifier tells of it.
_SIGNABLE = (audit_heads.c.sequence > 0) & (func.octet_length(audit_heads.c.hash) == HASH_BYTES)
_TRY_LOCK = text("select pg_try_advisory_xact_lock(hashtext('audit_checkpoint'))")
_WAIT_FOR_LOCK = text("select pg_advisory_xact_lock(hashtext('audit_checkpoint'))")
# A partition is named after its day; rows that came for want of one lie in the default.
_DAYS = text("""
select day from (
  select to_date(right(c.relname, 8), 'YYYYMMDD') as day from pg_inherits i join pg_class c on c.oid = i.inhrelid
  where i.inhparent = 'audit_log'::regclass and c.relname ~ '^audit_log_[0-9]{8}$'
  union select recorded_on from audit_log_default where isfinite(recorded_on)
  union select day from audit_heads) days
where day < (now() at time zone 'UTC')::date - cast(:kept as integer) order by day limit :most
""")


class AuditChains:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def lock(self, *, waiting: bool = False) -> bool:
        """Whether this transaction is the one that may write a checkpoint or drop a day; waits for it if it should."""
        if waiting:
            await self._connection.execute(_WAIT_FOR_LOCK)
            return True
        return bool(await self._connection.scalar(_TRY_LOCK))

    async def now(self) -> datetime:
        """The time of Postgres: no gateway's clock decides when a checkpoint is due, or says when it was written."""
        return (await self._connection.execute(select(func.now()))).scalar_one()

    async def moved_heads(self) -> list[Head]:
        """The heads of all chains that have moved since a checkpoint listed them."""
        moved = audit_heads.outerjoin(
            audit_listed,
            (audit_heads.c.writer == audit_listed.c.writer) & (audit_heads.c.day == audit_listed.c.day),
        )
        statement = (
            select(audit_heads)
            .select_from(moved)
            .where(audit_listed.c.sequence.is_distinct_from(audit_heads.c.sequence), _SIGNABLE)
            .order_by(audit_heads.c.day, audit_heads.c.writer)
        )
        return [_head(row) for row in (await self._connection.execute(statement)).all()]

    async def heads_of(self, days: Sequence[date]) -> list[Head]:
        """The heads of all chains of some days."""
        statement = (
            select(audit_heads)
            .where(audit_heads.c.day.in_(days), _SIGNABLE)
            .order_by(audit_heads.c.day, audit_heads.c.writer)
        )
        return [_head(row) for row in (await self._connection.execute(statement)).all()]

    async def add_checkpoint(self, checkpoint: SignedCheckpoint, heads: Sequence[Head]) -> None:
        """Keeps a checkpoint with how far it lists each chain."""
        await self._connection.execute(
            insert(audit_checkpoints).values(
                number=checkpoint.number,
                at=checkpoint.at,
                document=checkpoint.document,
                key_id=checkpoint.key_id,
                signature=checkpoint.signature,
            )
        )
        if not heads:
            return
        statement = insert(audit_listed)
        await self._connection.execute(
            statement.on_conflict_do_update(
                index_elements=[audit_listed.c.writer, audit_listed.c.day],
                set_={"sequence": statement.excluded.sequence},
            ),
            [{"writer": head.chain.writer, "day": head.chain.day, "sequence": head.sequence} for head in heads],
        )

    async def last_checkpoint(self) -> SignedCheckpoint | None:
        statement = select(audit_checkpoints).order_by(audit_checkpoints.c.number.desc()).limit(1)
        row = (await self._connection.execute(statement)).one_or_none()
        return None if row is None else _checkpoint(row)

    async def checkpoints(self, *, after: int, most: int) -> list[SignedCheckpoint]:
        """Checkpoints of higher numbers, in their order."""
        statement = (
            select(audit_checkpoints)
            .where(audit_checkpoints.c.number > after)
            .order_by(audit_checkpoints.c.number)
            .limit(most)
        )
        return [_checkpoint(row) for row in (await self._connection.execute(statement)).all()]

    async def checkpoints_numbered(self, numbers: Sequence[int]) -> list[SignedCheckpoint]:
        """Those of some checkpoints that are there, by their numbers."""
        statement = (
            select(audit_checkpoints)
            .where(audit_checkpoints.c.number.in_(numbers))
            .order_by(audit_checkpoints.c.number)
        )
        return [_checkpoint(row) for row in (await self._connection.execute(statement)).all()]

    async def newest_checkpoints(self, most: int) -> list[SignedCheckpoint]:
        """The newest checkpoints, the newest first."""
        statement = select(audit_checkpoints).order_by(audit_checkpoints.c.number.desc()).limit(most)
        return [_checkpoint(row) for row in (await self._connection.execute(statement)).all()]

    async def days_before(self, *, kept: int, most: int) -> list[date]:
        """Days (UTC) with something of the audit log in them, older than `kept` days before today, the oldest first."""
        return list((await self._connection.execute(_DAYS, {"kept": kept, "most": most})).scalars())

    async def drop_day(self, day: date, tries: int) -> int:
        """Drops a day's rows with its chains; how many rows. Waits so many times for as long as lock_timeout says."""
        return int((await self._connection.execute(select(func.audit_log_drop_day(day, tries)))).scalar_one())


def _head(row: Row[Any]) -> Head:
    return Head(ChainName(row.writer, row.day), row.sequence, row.hash)


def _checkpoint(row: Row[Any]) -> SignedCheckpoint:
    return SignedCheckpoint(row.number, row.at, row.document, row.key_id, row.signature)
