"""What most commands work with, open for as long as one of them runs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from neuronetz_gateway.db.opening import database_of
from neuronetz_gateway.services.management import Management, hasher_of, management_of
from neuronetz_gateway.settings import Settings


@asynccontextmanager
async def management(settings: Settings) -> AsyncIterator[Management]:
    """Tenants, keys, budgets, usage."""
    database = database_of(settings)
    try:
        yield management_of(settings, database, hasher_of(settings))
    finally:
        await database.aclose()
