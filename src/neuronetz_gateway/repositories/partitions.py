"""The days of the audit log, of sealed prompts: made ahead of time, purged behind it."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_TODAY = "(now() at time zone 'UTC')::date"
_AUDIT = text(f"select audit_log_ensure_partitions({_TODAY}, :days)")
_PROMPTS = text(f"select prompt_log_ensure_partitions({_TODAY}, :days)")
_PURGE = text("select prompt_log_purge()")


class Partitions:
    """Wants a connection that waits briefly for locks: writers wait behind whoever waits for these."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def ensure_audit_log(self, days: int) -> int:
        """Makes the audit log's days from today (UTC) on that are missing; how many those were."""
        return int(await self._connection.scalar(_AUDIT, {"days": days}) or 0)

    async def ensure_prompt_log(self, days: int) -> int:
        """Makes the days of sealed prompts from today (UTC) on that are missing; how many those were."""
        return int(await self._connection.scalar(_PROMPTS, {"days": days}) or 0)

    async def purge_prompts(self) -> int:
        """Takes away every prompt whose time is over; how many of them one by one."""
        return int(await self._connection.scalar(_PURGE) or 0)
