"""A database of its own for each test that asks for one."""

from collections.abc import AsyncIterator

import pytest

from neuronetz_gateway.db.database import Database
from tests.support.ledgers import World, make_database


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = make_database(database_url)
    yield database
    await database.aclose()


@pytest.fixture
def world(database_url: str, database: Database) -> World:
    return World(database_url, database)
