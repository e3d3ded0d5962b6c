"""A relay is ended from outside exactly once, by whoever comes first, without eating anybody else's cancel."""

import asyncio
from typing import Any

import pytest
from starlette.types import Receive

from neuronetz_gateway.common_timer import CommonTimer
from neuronetz_gateway.domain.audit import Outcome
from neuronetz_gateway.errors import AnswerCutError
from neuronetz_gateway.http.caller_watch import LISTEN_AFTER_SECONDS, CallerWatch, RelayEndedError


async def _never() -> dict[str, Any]:
    await asyncio.Event().wait()
    raise AssertionError


async def _gone() -> dict[str, Any]:
    return {"type": "http.disconnect"}


def _watch(receive: Receive, *, total_seconds: float) -> CallerWatch:
    return CallerWatch(receive, listening=CommonTimer(LISTEN_AFTER_SECONDS), total_seconds=total_seconds)


@pytest.mark.promise("S1")
async def test_a_caller_who_leaves_ends_the_relay_within_a_second() -> None:
    async with asyncio.timeout(1):
        with pytest.raises(RelayEndedError) as ended, _watch(_gone, total_seconds=60):
            await asyncio.Event().wait()
    assert ended.value.outcome is Outcome.CALLER_LEFT


async def test_the_total_time_ends_the_relay() -> None:
    with pytest.raises(RelayEndedError) as ended, _watch(_never, total_seconds=0.01):
        await asyncio.Event().wait()
    assert ended.value.outcome is Outcome.UPSTREAM_TIMED_OUT


async def test_the_first_reason_stands() -> None:
    with pytest.raises(RelayEndedError) as ended, _watch(_never, total_seconds=60) as watch:
        watch.end(Outcome.CUT, error := AnswerCutError("revoked"))
        watch.end(Outcome.CALLER_LEFT)
        await asyncio.Event().wait()
    assert (ended.value.outcome, ended.value.told) == (Outcome.CUT, error)


async def test_a_finished_relay_cannot_be_ended_any_more() -> None:
    with _watch(_never, total_seconds=60) as watch:
        pass
    watch.end(Outcome.CUT)
    await asyncio.sleep(0)


async def test_a_cancel_of_the_server_passes_through() -> None:
    entered = asyncio.Event()

    async def relay() -> None:
        with _watch(_never, total_seconds=60):
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(relay())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancel_of_the_server_wins_over_a_caller_who_left_too() -> None:
    entered = asyncio.Event()
    watches: list[CallerWatch] = []

    async def relay() -> None:
        with _watch(_never, total_seconds=60) as watch:
            watches.append(watch)
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(relay())
    await entered.wait()
    task.cancel()
    watches[0].end(Outcome.CALLER_LEFT)
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_of_the_relay_itself_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError), _watch(_never, total_seconds=60):
        raise ZeroDivisionError


async def test_an_end_that_comes_when_the_awaited_thing_is_done_already_still_ends_the_relay() -> None:
    """The task is then only waiting for its turn; its next await must not go on as if nobody had left."""
    arrived = asyncio.get_running_loop().create_future()

    def arrive_and_end(watch: CallerWatch) -> None:
        arrived.set_result(None)
        watch.end(Outcome.CALLER_LEFT)

    with pytest.raises(RelayEndedError), _watch(_never, total_seconds=60) as watch:
        asyncio.get_running_loop().call_soon(arrive_and_end, watch)
        await arrived
    await asyncio.sleep(0)
