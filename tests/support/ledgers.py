"""Callers with budgets in a real Postgres, seen past the gateway."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg

from neuronetz_gateway.db.database import Database
from neuronetz_gateway.domain.audit import Outcome, RefusalEvent, Settlement
from neuronetz_gateway.domain.budget import Period, Reservation, ReservationAsk
from neuronetz_gateway.domain.identifier import uuid7
from neuronetz_gateway.domain.principal import Principal
from neuronetz_gateway.domain.usage import Charge
from neuronetz_gateway.repositories.ledger import Ledger
from neuronetz_gateway.repositories.unit_of_work import unit_of_work
from neuronetz_gateway.services.budgeting import BudgetLedger
from neuronetz_gateway.services.process_life import ProcessLife
from tests.support.stores import asyncpg_dsn

Budgets = Mapping[Period, int]
_OF_BOTH = frozenset({"happened"})
_OF_LIFE = frozenset({"heartbeat_seconds", "heard", "cut_all"})


def make_database(url: str, **changes: Any) -> Database:
    values: dict[str, Any] = {
        "pool_size": 3,
        "connect_timeout_seconds": 5,
        "statement_timeout_seconds": 20,
        "lock_timeout_seconds": 20,
        "patience_seconds": 20,
        **changes,
    }
    return Database(url, **values)


def make_ask(**changes: Any) -> ReservationAsk:
    """A request of up to 100 prompt tokens that wants 50 of output."""
    values: dict[str, Any] = {
        "id": uuid7(),
        "prompt_bound_tokens": 100,
        "output_wanted_tokens": 50,
        "model": "llama3:latest",
        "endpoint": "/api/chat",
        "request_id": "request-1",
        "address": "192.0.2.1",
        "user_agent": "test/1",
        "admitted_at": datetime.now(UTC),
        **changes,
    }
    return ReservationAsk(**values)


def completed(reservation: Reservation | UUID, tokens: int = 70, outcome: Outcome = Outcome.COMPLETED) -> Settlement:
    reservation_id = reservation if isinstance(reservation, UUID) else reservation.id
    charge = Charge(tokens - tokens // 2, tokens // 2, estimated=False)
    return Settlement(reservation_id, outcome, 200, charge, first_byte_seconds=0.02, duration_seconds=0.5)


def refusal_of(principal: Principal, ask: ReservationAsk, status: int = 503) -> RefusalEvent:
    """What is written down of a request that was refused, under the id that its reservation would have."""
    return RefusalEvent(
        id=ask.id,
        tenant_id=principal.tenant_id,
        api_key_id=principal.api_key_id,
        endpoint=ask.endpoint,
        model=ask.model,
        request_id=ask.request_id,
        address=ask.address,
        user_agent=ask.user_agent,
        status=status,
        reason="unavailable",
        refused_at=ask.admitted_at,
    )


async def until(holds: Callable[[], Awaitable[object]]) -> None:
    """Looks again and again: what the database or another process comes to hold sends no event."""
    async with asyncio.timeout(30):
        while not await holds():
            await asyncio.sleep(0.005)


class World:
    """One database; what it holds is the witness."""

    def __init__(self, url: str, database: Database) -> None:
        self.url = url
        self.database = database

    async def caller(
        self, *, tenant: Budgets | None = None, key: Budgets | None = None, time_zone: str = "UTC"
    ) -> Principal:
        """A new tenant with one key, with budgets by period."""
        tenant_id, key_id, now = uuid7(), uuid7(), datetime.now(UTC)
        async with unit_of_work(self.database) as uow:
            await uow.tenants.add(tenant_id, f"tenant-{tenant_id}", created_at=now, time_zone=time_zone)
            await uow.api_keys.add(
                tenant_id,
                key_id,
                name="ci",
                prefix=f"nz_{key_id.hex[-9:]}",
                secret_hash="hash",
                digest=b"digest",
                pepper_id="pepper",
                created_at=now,
            )
            for period, limit in (tenant or {}).items():
                await uow.budgets.set(tenant_id, "tenant", tenant_id, period, limit)
            for period, limit in (key or {}).items():
                await uow.budgets.set(tenant_id, "key", key_id, period, limit)
        return await self.principal(f"nz_{key_id.hex[-9:]}")

    async def principal(self, prefix: str) -> Principal:
        async with unit_of_work(self.database) as uow:
            record = await uow.api_keys.find_by_prefix(prefix)
        assert record is not None
        return record.principal

    async def sql(self, query: str, *arguments: object) -> list[Any]:
        """Another writer's plain SQL."""
        async with self.connection() as connection:
            return list(await connection.fetch(query, *arguments))

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        connection = await asyncpg.connect(asyncpg_dsn(self.url))
        try:
            yield connection
        finally:
            await connection.close()

    async def usage(self, principal: Principal) -> set[tuple[int, int]]:
        """(used, reserved) of all six windows, which must all agree where time stands still: a set of one."""
        rows = await self.sql(
            "select used, reserved from budget_usage where scope_id = any($1)",
            [principal.tenant_id, principal.api_key_id],
        )
        return {(row["used"], row["reserved"]) for row in rows}

    async def count(self, table: str) -> int:
        return int((await self.sql(f"select count(*) from {table}"))[0][0])  # noqa: S608 - a test's own constant


@asynccontextmanager
async def running_ledger(url: str, ledger_class: type[Ledger] = Ledger, **changes: Any) -> AsyncIterator[BudgetLedger]:
    """A started ledger on connections of its own; leaving it flushes it."""
    values: dict[str, Any] = {
        "statement_timeout_seconds": 20,
        "answer_within_seconds": 30,
        "unwind_within_seconds": 0.05,
        **changes,
    }
    database = make_database(url, statement_timeout_seconds=values["statement_timeout_seconds"])
    repository = ledger_class(database)
    of_life = {name: values.pop(name) for name in _OF_LIFE & values.keys()}
    life = ProcessLife(repository, new_id=uuid7, **of_life, **{name: values[name] for name in _OF_BOTH & values.keys()})
    ledger = BudgetLedger(repository, life=life, **values)
    await ledger.start()
    try:
        yield ledger
    finally:
        await ledger.aclose()
        await database.aclose()
