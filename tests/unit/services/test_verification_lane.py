"""The lane of Argon2id: bounded, shared, indifferent to callers who leave."""

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from neuronetz_gateway.domain.api_key import PlainKey
from neuronetz_gateway.errors import UnavailableError
from neuronetz_gateway.key_hashing import KeyHasher
from neuronetz_gateway.services.verification_lane import LaneFullError, VerificationLane

KEY = PlainKey("nz_" + "a" * 41)


class GatedHasher(KeyHasher):
    """Counts its verifications, each of which waits until the gate is open."""

    def __init__(self) -> None:
        super().__init__(b"p" * 32, None, memory_kib=8, time_cost=1, parallelism=1)
        self.gate = threading.Event()
        self.verifications = 0

    def verify(self, key: PlainKey, secret_hash: str) -> bool:
        self.verifications += 1
        assert self.gate.wait(10)
        if secret_hash == "out of memory":
            raise UnavailableError("The key could not be verified.")
        return super().verify(key, secret_hash)


@pytest.fixture
def hasher() -> GatedHasher:
    return GatedHasher()


@pytest.fixture
async def lane(hasher: GatedHasher) -> AsyncIterator[VerificationLane]:
    lane = VerificationLane(hasher, threads=1, queue=2)
    yield lane
    hasher.gate.set()
    await lane.aclose()


def ask(lane: VerificationLane, number: int, secret_hash: str = "") -> asyncio.Task[bool]:
    return asyncio.create_task(lane.verify(bytes([number]), KEY, secret_hash))


async def test_a_thousand_verifications_of_one_key_cost_one_run(hasher: GatedHasher, lane: VerificationLane) -> None:
    stored = hasher.hash(KEY)
    asks = [ask(lane, 1, stored) for _ in range(1000)]
    await asyncio.sleep(0)
    hasher.gate.set()
    assert await asyncio.gather(*asks) == [True] * 1000
    assert hasher.verifications == 1


async def test_a_full_lane_refuses_at_once_then_serves_again(hasher: GatedHasher, lane: VerificationLane) -> None:
    asks = [ask(lane, number) for number in range(3)]
    await asyncio.sleep(0)
    assert lane.is_full()
    with pytest.raises(LaneFullError):
        await lane.verify(b"next", KEY, "")
    hasher.gate.set()
    assert await asyncio.gather(*asks) == [False] * 3
    assert not await lane.verify(b"next", KEY, "")


async def test_a_caller_who_leaves_frees_its_place_only_when_the_thread_is_done(
    hasher: GatedHasher, lane: VerificationLane
) -> None:
    asks = [ask(lane, number) for number in range(3)]
    await asyncio.sleep(0)
    for leaving in asks:
        leaving.cancel()
    await asyncio.gather(*asks, return_exceptions=True)
    assert lane.is_full()
    hasher.gate.set()
    await lane.aclose()
    assert not lane.is_full()
    assert hasher.verifications == 3


async def test_one_of_two_callers_leaving_takes_nothing_from_the_other(
    hasher: GatedHasher, lane: VerificationLane
) -> None:
    stored = hasher.hash(KEY)
    leaving, staying = ask(lane, 1, stored), ask(lane, 1, stored)
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    hasher.gate.set()
    assert await staying


async def test_a_failed_run_reaches_every_caller_and_is_not_remembered(
    hasher: GatedHasher, lane: VerificationLane
) -> None:
    asks = [ask(lane, 1, "out of memory") for _ in range(3)]
    await asyncio.sleep(0)
    hasher.gate.set()
    results = await asyncio.gather(*asks, return_exceptions=True)
    assert [type(result) for result in results] == [UnavailableError] * 3
    assert await lane.verify(b"\x01", KEY, hasher.hash(KEY))
