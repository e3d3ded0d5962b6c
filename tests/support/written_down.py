"""Rows of the audit log as the ledger itself writes them, for tests of what reads them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from neuronetz_gateway.domain.audit import Outcome, RefusalEvent
from neuronetz_gateway.domain.budget import windows_at
from neuronetz_gateway.domain.identifier import uuid7
from neuronetz_gateway.domain.principal import Principal
from neuronetz_gateway.repositories.ledger import Ledger, ReservationRequest
from tests.support.ledgers import World, completed, make_database


@dataclass(frozen=True, slots=True)
class Book:
    """One tenant with one key, and a ledger that writes down what a test wants to read."""

    world: World
    ledger: Ledger
    caller: Principal

    async def reserve(self, caller: Principal | None = None, **changes: Any) -> UUID:
        """An open request of 150 tokens."""
        of = caller or self.caller
        at = changes.pop("admitted_at", datetime.now(UTC))
        windows = windows_at(at, of.time_zone)
        values: dict[str, Any] = {
            "id": uuid7(), "process_id": UUID(int=7), "tenant_id": of.tenant_id, "tenant_version": of.tenant_version,
            "api_key_id": of.api_key_id, "key_version": of.key_version, "day": windows.day, "month": windows.month,
            "prompt_bound_tokens": 100, "output_wanted_tokens": 50, "estimated_tokens": 83, "model": "llama3:latest",
            "endpoint": "/api/chat", "request_id": "request-1", "address": "192.0.2.1", "user_agent": "test/1",
            "admitted_at": at, **changes,
        }  # fmt: skip
        request = ReservationRequest(**values)
        [verdict] = await self.ledger.reserve([request])
        assert verdict.granted_tokens is not None, verdict
        return request.id

    async def serve(
        self, caller: Principal | None = None, *, tokens: int = 70, outcome: Outcome = Outcome.COMPLETED, **changes: Any
    ) -> UUID:
        """A request from its reservation to its row."""
        request = await self.reserve(caller, **changes)
        assert await self.ledger.settle([completed(request, tokens, outcome)]) == [True]
        return request

    async def refuse(self, **changes: Any) -> UUID:
        values: dict[str, Any] = {
            "id": uuid7(), "tenant_id": self.caller.tenant_id, "api_key_id": self.caller.api_key_id,
            "endpoint": "/api/chat", "model": "llama3:latest", "request_id": "request-2", "address": "192.0.2.1",
            "user_agent": "test/1", "status": 429, "reason": "key.rpm", "refused_at": datetime.now(UTC), **changes,
        }  # fmt: skip
        event = RefusalEvent(**values)
        await self.ledger.refuse([event])
        return event.id

    async def refuse_stranger(self, **changes: Any) -> UUID:
        values = {"status": 401, "reason": "invalid_api_key", "model": "", **changes}
        return await self.refuse(tenant_id=None, api_key_id=None, **values)

    async def abandon(self) -> UUID:
        """A request whose process died, as recovery charges it: with all 150 tokens, in the windows of now."""
        now = datetime.now(UTC)
        windows = windows_at(now, self.caller.time_zone)
        request = await self.reserve(admitted_at=now - timedelta(hours=1), day=windows.day, month=windows.month)
        assert await self.ledger.abandon(age=timedelta(minutes=1), most=10) == 1
        return request


@asynccontextmanager
async def open_book(database_url: str, name: str = "acme", time_zone: str = "UTC") -> AsyncIterator[Book]:
    database = make_database(database_url)
    try:
        world = World(database_url, database)
        yield Book(world, Ledger(database), await caller_named(world, name, time_zone))
    finally:
        await database.aclose()


async def caller_named(world: World, name: str, time_zone: str = "UTC") -> Principal:
    """A new tenant of that name, with one key."""
    caller = await world.caller(time_zone=time_zone)
    await world.sql("update tenants set name = $2 where id = $1", caller.tenant_id, name)
    return await world.principal(caller.key_prefix)


async def in_thread(work: Any, *arguments: Any, **options: Any) -> Any:
    """A command brings an event loop of its own, so it runs beside that of the test."""
    return await asyncio.to_thread(work, *arguments, **options)
