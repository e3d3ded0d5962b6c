"""Connections to one database as several processes have them, with what such processes ask of the ledger."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from neuronetz_gateway.db.database import Database
from neuronetz_gateway.domain.identifier import uuid7
from neuronetz_gateway.domain.principal import Principal
from neuronetz_gateway.repositories.ledger import Ledger, ReservationRequest
from neuronetz_gateway.repositories.unit_of_work import unit_of_work
from neuronetz_gateway.services.budgeting import BudgetLedger
from tests.support.ledgers import World, make_database

WINDOW = datetime(2026, 3, 1, tzinfo=UTC)  # the day and the month that are charged


class Others:
    """Makes connections and ledgers of other processes."""

    def __init__(self, url: str, closing: AsyncExitStack) -> None:
        self._url = url
        self._closing = closing

    def database(self, **changes: Any) -> Database:
        database = make_database(self._url, **changes)
        self._closing.push_async_callback(database.aclose)
        return database

    def ledger(self, **changes: Any) -> Ledger:
        return Ledger(self.database(**changes))


@asynccontextmanager
async def other_processes(url: str) -> AsyncIterator[Others]:
    """Leaving closes all their connections."""
    async with AsyncExitStack() as closing:
        yield Others(url, closing)


async def register(world: World) -> UUID:
    """A process that has told once that it lives; its id."""
    process_id = uuid7()
    async with unit_of_work(world.database) as uow:
        await uow.processes.heartbeat(process_id, host="here", pid=1)
    return process_id


def request_of(caller: Principal, process_id: UUID, /, **changes: Any) -> ReservationRequest:
    """Asks for 100 prompt tokens with 50 of output."""
    return ReservationRequest(
        uuid7(), process_id, caller.tenant_id, caller.tenant_version, caller.api_key_id, caller.key_version, WINDOW,
        WINDOW, 100, 50, 0, "llama3:latest", "/api/chat", "request-1", "192.0.2.1", "test/1", datetime.now(UTC),
    )._replace(**changes)  # fmt: skip


async def nothing_pending(ledger: BudgetLedger) -> bool:
    """Whether all that was handed over has found its end, for `until`."""
    return not ledger.pending


async def no_refusal_waits(ledger: BudgetLedger) -> bool:
    """Whether every refusal is written down or given up, for `until`."""
    return not ledger.refusals_waiting
