"""When callers are spared the wait for a Postgres that does not answer, when they are let through again."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from neuronetz_gateway.db.breaker import Breaker
from neuronetz_gateway.db.group_commit import BatchDataError, NotCommittedError
from neuronetz_gateway.errors import StalePrincipalError, UnavailableError

PATIENCE_SECONDS = 0.2


class Probe:
    """Answers, or fails with what it was told."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.asked = asyncio.Event()

    async def __call__(self) -> None:
        self.asked.set()
        if self.error is not None:
            raise self.error


@pytest.fixture
async def probe() -> Probe:
    return Probe()


@pytest.fixture
async def breaker(probe: Probe) -> AsyncIterator[Breaker]:
    breaker = Breaker(probe, name="test", patience_seconds=PATIENCE_SECONDS)
    yield breaker
    await breaker.aclose()


def _fail(breaker: Breaker, error: Exception) -> None:
    with pytest.raises(type(error)), breaker.attempt():
        raise error


def _succeed(breaker: Breaker) -> None:
    with breaker.attempt():
        pass


def _lets_through(breaker: Breaker) -> bool:
    try:
        breaker.check()
    except UnavailableError:
        return False
    return True


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.01)


async def test_one_failure_is_nothing_two_in_a_row_are_an_outage(breaker: Breaker, probe: Probe) -> None:
    probe.error = NotCommittedError("away")
    _fail(breaker, NotCommittedError("away"))
    assert _lets_through(breaker)
    _succeed(breaker)
    _fail(breaker, NotCommittedError("away"))
    assert _lets_through(breaker), "they were not in a row"
    _fail(breaker, UnavailableError("away"))
    assert breaker.open
    assert not _lets_through(breaker)


async def test_what_postgres_alone_can_tell_shows_that_it_is_there(breaker: Breaker) -> None:
    for error in (BatchDataError("a NUL"), StalePrincipalError("changed"), BatchDataError("a NUL")):
        _fail(breaker, error)
    assert _lets_through(breaker)


async def test_who_comes_while_a_call_is_late_is_not_kept_waiting(breaker: Breaker, probe: Probe) -> None:
    """The probe may go another way than the call: as long as that hangs nobody is let through."""
    with breaker.attempt():
        assert _lets_through(breaker)
        await _until(lambda: breaker.open)
        await asyncio.sleep(PATIENCE_SECONDS)
        assert not probe.asked.is_set()
        assert not _lets_through(breaker)
    assert not _lets_through(breaker), "it was answered, too late"
    await _until(lambda: not breaker.open)


async def test_after_the_probe_one_caller_at_a_time_finds_out(breaker: Breaker) -> None:
    for _ in range(2):
        _fail(breaker, NotCommittedError("away"))
    await _until(lambda: not breaker.open)
    assert [_lets_through(breaker) for _ in range(3)] == [True, False, False]
    _fail(breaker, NotCommittedError("away"))
    assert breaker.open
    await _until(lambda: not breaker.open)
    assert _lets_through(breaker)
    _succeed(breaker)
    assert all(_lets_through(breaker) for _ in range(3))


async def test_who_was_let_through_and_left_does_not_keep_the_others_out(breaker: Breaker) -> None:
    for _ in range(2):
        _fail(breaker, NotCommittedError("away"))
    await _until(lambda: _lets_through(breaker))
    assert not _lets_through(breaker)
    await _until(lambda: _lets_through(breaker))


@pytest.mark.parametrize("error", [NotCommittedError("away"), UnavailableError("away"), RuntimeError("a defect")])
async def test_it_stays_open_until_the_probe_is_answered(breaker: Breaker, probe: Probe, error: Exception) -> None:
    probe.error = error
    for _ in range(2):
        _fail(breaker, NotCommittedError("away"))
    for _ in range(2):
        probe.asked.clear()
        await probe.asked.wait()
        assert not _lets_through(breaker)
    probe.error = None
    await _until(lambda: _lets_through(breaker))


async def test_a_call_that_may_take_long_is_not_judged_by_its_time(breaker: Breaker) -> None:
    with breaker.attempt(may_take_long=True):
        await asyncio.sleep(PATIENCE_SECONDS * 1.5)
        assert _lets_through(breaker)
    assert _lets_through(breaker)


async def test_a_suspicion_is_for_the_probe_to_decide(breaker: Breaker, probe: Probe) -> None:
    breaker.suspect()
    await probe.asked.wait()
    assert _lets_through(breaker), "it was wrong"
    probe.error = UnavailableError("away")
    await _until(lambda: breaker._prober is None)
    breaker.suspect()
    await _until(lambda: breaker.open)
