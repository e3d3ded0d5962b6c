"""Other processes on the database of a test."""

from collections.abc import AsyncIterator

import pytest

from tests.support.ledgers import World
from tests.support.other_processes import Others, other_processes


@pytest.fixture
async def others(world: World) -> AsyncIterator[Others]:
    async with other_processes(world.url) as others:
        yield others
