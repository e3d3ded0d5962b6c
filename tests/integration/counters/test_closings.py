"""Ends of admissions while Redis is away for good."""

import time

import pytest

from neuronetz_gateway.counters.admissions import Closing, RateCounters
from neuronetz_gateway.counters.closings import Closings
from neuronetz_gateway.domain.identifier import uuid7
from tests.support.counters import batched


@pytest.mark.promise("F1")
async def test_what_cannot_be_delivered_is_bounded_and_counted(tmp_path_factory: pytest.TempPathFactory) -> None:
    nowhere = tmp_path_factory.mktemp("n") / "none.sock"
    async with batched(f"unix://{nowhere}") as connection:
        closings = Closings(RateCounters(connection), capacity=10, retry_seconds=0.05, flush_seconds=0.3)
        for _ in range(25):
            closings.hand_over(Closing(uuid7(), uuid7(), uuid7(), None, 1, None))
        began = time.monotonic()
        await closings.aclose()
        assert time.monotonic() - began < 1
    assert closings.dropped == 25
    assert len(closings) == 0
