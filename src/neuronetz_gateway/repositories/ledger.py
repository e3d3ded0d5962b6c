"""Reserving, settling and refusing in Postgres, a batch a call."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from neuronetz_gateway.db.database import Database
from neuronetz_gateway.domain.audit import RefusalEvent, Settlement
from neuronetz_gateway.domain.identifier import uuid7
from neuronetz_gateway.repositories.unit_of_work import unit_of_work

STALE = "stale"
SWEPT = "swept"
_RESERVE = "select * from reserve_r2($1)"


class ReservationRequest(NamedTuple):
    """One reservation asked for; the fields stand in the order of the SQL type reservation_request_r2."""

    id: UUID
    process_id: UUID
    tenant_id: UUID
    tenant_version: int
    api_key_id: UUID
    key_version: int
    day: datetime
    month: datetime
    prompt_bound_tokens: int
    output_wanted_tokens: int
    estimated_tokens: int
    model: str
    endpoint: str
    request_id: str
    address: str
    user_agent: str
    admitted_at: datetime


class Verdict(NamedTuple):
    """Granted output tokens, or None with what refused: STALE, SWEPT, or a scope and period ('key.daily') with
    its figures.
    """

    granted_tokens: int | None
    refused_by: str | None
    refused_limit_tokens: int | None
    refused_left_tokens: int | None


class Ledger:
    """The calls of the ledger; each is one transaction.

    Raises BatchDataError, NotCommittedError and UnknownOutcomeError (db/group_commit.py) for the batch as a whole.
    """

    def __init__(self, database: Database, *, new_id: Callable[[], UUID] = uuid7) -> None:
        self._database = database
        # Each lane writes a chain of its own in the audit log, so that none waits for another's head.
        self._settling_writer, self._refusing_writer, self._upkeep_writer = new_id(), new_id(), new_id()
        self._reserving = database.link("reserve")
        # Nothing is asked for, but it is asked as a reservation is: on the same session, which must be able to write.
        self._reserve_breaker = database.breaker("reserve", lambda: self._reserving.fetch(_RESERVE, []))
        self._settling = database.link("settle")
        self._refusing = database.link("refuse")
        self._upkeep = database.link("upkeep")

    def check_reserving(self) -> None:
        """Returns where a reservation is worth trying; else raises UnavailableError, at once."""
        self._reserve_breaker.check()

    async def reserve(self, batch: Sequence[ReservationRequest]) -> list[Verdict]:
        """One verdict a request, in order; a request whose id is held already gets what it was granted then."""
        with self._reserve_breaker.attempt():
            rows = await self._reserving.fetch(_RESERVE, batch)
        return [Verdict(*row) for row in rows]

    async def settle(self, batch: Sequence[Settlement]) -> list[bool]:
        """Ends reservations; whether each was found, which it is no more the second time."""
        rows = [
            (
                item.reservation_id,
                item.outcome,
                item.status,
                item.charge.prompt_tokens,
                item.charge.output_tokens,
                item.charge.total_tokens,
                item.charge.estimated,
                None if item.first_byte_seconds is None else round(item.first_byte_seconds * 1000),
                round(item.duration_seconds * 1000),
            )
            for item in batch
        ]
        answer = await self._settling.fetch("select settle_r2($1, $2)", self._settling_writer, rows)
        found = set(answer[0][0])
        return [item.reservation_id in found for item in batch]

    async def refuse(self, batch: Sequence[RefusalEvent]) -> None:
        """Writes refusals down; one that was written already stays as it is."""
        rows = [
            (
                item.id,
                item.tenant_id,
                item.api_key_id,
                item.endpoint,
                item.model,
                item.request_id,
                item.address,
                item.user_agent,
                item.status,
                item.reason,
                item.refused_at,
                item.occurrences,
            )
            for item in batch
        ]
        await self._refusing.fetch("select refuse_r2($1, $2)", self._refusing_writer, rows)

    async def end_sessions(self, sessions: Iterable[str]) -> set[str]:
        """Ends sessions of the server whose connections were lost; those that are there yet.

        What a session did is final, and seen by the next statement, once it is gone.
        """
        query = (
            "select application_name, pg_terminate_backend(pid) from pg_stat_activity where application_name = any($1)"
        )
        return {row[0] for row in await self._upkeep.fetch(query, list(sessions))}

    async def abandon(self, *, age: timedelta, most: int, heard_at: datetime | None = None) -> int:
        """Charges in full, as abandoned, what processes held whose heartbeat is older than `age`; how many requests.

        At most `most` at once, so that no lock is held for long: call it again while it finds that many.
        """
        answer = await self._upkeep.fetch("select abandon_r1($1, $2, $3, $4)", self._upkeep_writer, age, most, heard_at)
        return int(answer[0][0])

    async def heartbeat(self, process_id: UUID, *, host: str, pid: int) -> datetime | None:
        """Says that this process lives; registers it the first time. When that was, by the clock of Postgres.

        None where it was swept as dead meanwhile. Raises UnavailableError.
        """
        async with unit_of_work(self._database) as uow:
            return await uow.processes.heartbeat(process_id, host=host, pid=pid)

    async def forget_process(self, process_id: UUID) -> None:
        """Takes a process off the list if it holds nothing. Raises UnavailableError."""
        async with unit_of_work(self._database) as uow:
            await uow.processes.remove_idle(process_id)
