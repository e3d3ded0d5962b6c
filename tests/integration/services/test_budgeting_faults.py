"""What the budget ledger promises when callers leave and Postgres fails."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Coroutine, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

import pytest

from neuronetz_gateway.db.group_commit import UnknownOutcomeError
from neuronetz_gateway.domain.audit import Outcome
from neuronetz_gateway.domain.budget import Period
from neuronetz_gateway.domain.identifier import uuid7
from neuronetz_gateway.errors import UnavailableError
from neuronetz_gateway.repositories.ledger import Ledger, ReservationRequest, Verdict
from neuronetz_gateway.services.budgeting import BudgetLedger
from neuronetz_gateway.services.process_life import ProcessLife
from tests.support.ledgers import World, completed, make_ask, make_database, refusal_of, running_ledger, until

_SESSION = "select pid from pg_stat_activity where application_name like 'neuronetz-gateway reserve %'"


async def _step(work: Coroutine[Any, Any, object], turns: int) -> BaseException | None:
    """Lets some work go on for so many turns of the loop, then cancels it."""
    task = asyncio.create_task(work)
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    return (await asyncio.gather(task, return_exceptions=True))[0]  # type: ignore[return-value]


@pytest.mark.promise("S1")
async def test_a_caller_who_leaves_at_any_moment_leaves_nothing_reserved(world: World) -> None:
    caller = await world.caller(tenant={Period.DAILY: 10**9})
    ends: Counter[str] = Counter()
    async with running_ledger(world.url) as ledger:
        await ledger.reserve(caller, make_ask(prompt_bound_tokens=0, output_wanted_tokens=0))
        turns = 0
        while (turns < 40 or ends["Reservation"] < 3) and turns < 20_000:
            # Every turn of the loop in which the call may stand is one in which somebody leaves.
            outcome = await _step(ledger.reserve(caller, make_ask()), turns)
            ends[type(outcome).__name__] += 1
            if type(outcome).__name__ == "Reservation":
                ledger.settle(completed(outcome, 0))  # type: ignore[arg-type]  # told by its name
            turns += 1 if turns < 40 else turns // 3
    assert ends["CancelledError"]
    assert await world.usage(caller) == {(0, 0)}
    assert await world.count("reservations") == 1, "the free one"


class HurriedLedger(Ledger):
    """Has a caller leave after its verdict has come, before it has woken."""

    leaver: asyncio.Task[Any] | None = None

    async def reserve(self, batch: Sequence[ReservationRequest]) -> list[Verdict]:
        verdicts = await super().reserve(batch)
        leaver = type(self).leaver
        if leaver is not None:
            asyncio.get_running_loop().call_soon(leaver.cancel)
        return verdicts


@pytest.mark.promise("S1")
async def test_a_caller_who_leaves_with_the_verdict_under_way_leaves_nothing_reserved(world: World) -> None:
    caller = await world.caller()
    async with running_ledger(world.url, HurriedLedger) as ledger:
        HurriedLedger.leaver = asyncio.create_task(ledger.reserve(caller, make_ask()))
        with pytest.raises(asyncio.CancelledError):
            await HurriedLedger.leaver
        HurriedLedger.leaver = None
    assert await world.usage(caller) == {(0, 0)}
    rows = await world.sql("select outcome, status from audit_log")
    assert [tuple(row) for row in rows] == [("not_forwarded", 499)]


@pytest.mark.promise("S1")
async def test_callers_who_leave_while_others_wait_disturb_nobody(world: World) -> None:
    caller = await world.caller()
    async with running_ledger(world.url) as ledger:
        tasks = [asyncio.create_task(ledger.reserve(caller, make_ask())) for _ in range(400)]
        for number, task in enumerate(tasks):
            if number % 40 == 0:
                await asyncio.sleep(0)
            if number % 2:
                task.cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert sum(isinstance(answer, asyncio.CancelledError) for answer in answers) == 200
        for answer in answers:
            if not isinstance(answer, BaseException):
                ledger.settle(completed(answer, 1))
    assert await world.usage(caller) == {(200, 0)}


async def test_a_session_that_ends_in_the_middle_is_503_and_nothing_stays_reserved(world: World) -> None:
    caller = await world.caller()
    async with running_ledger(world.url, statement_timeout_seconds=0.5) as ledger:
        await ledger.reserve(caller, make_ask())
        async with world.connection() as other:
            transaction = other.transaction()
            await transaction.start()
            await other.execute("select 1 from budget_usage for update")
            asking = asyncio.create_task(ledger.reserve(caller, make_ask()))
            waiting = "select 1 from pg_stat_activity where wait_event_type = 'Lock' and query like '%reserve_r2%'"
            await until(lambda: other.fetch(waiting))
            await other.execute(f"select pg_terminate_backend(pid) from ({_SESSION}) s")  # noqa: S608 - a constant
            with pytest.raises(UnavailableError):
                await asking
            await transaction.rollback()
        assert ledger.pending > 0, "it is in doubt until the statement time-out has passed"
        await ledger.reserve(caller, make_ask())
    assert await world.usage(caller) == {(0, 300)}


class ForgetfulLedger(Ledger):
    """Commits, then loses the answer: the first time, with a session that never was."""

    forgotten = 0

    async def reserve(self, batch: Sequence[ReservationRequest]) -> list[Verdict]:
        verdicts = await super().reserve(batch)
        if not type(self).forgotten:
            type(self).forgotten += 1
            raise UnknownOutcomeError("the answer was lost", session="lost")
        return verdicts


async def test_a_commit_whose_answer_was_lost_is_found_and_released(world: World) -> None:
    caller = await world.caller()
    events: list[str] = []
    ForgetfulLedger.forgotten = 0
    async with running_ledger(world.url, ForgetfulLedger, happened=events.append) as ledger:
        with pytest.raises(UnavailableError) as refused:
            await ledger.reserve(caller, make_ask())
    assert refused.value.in_doubt
    assert events == ["reservation_in_doubt"]
    assert await world.usage(caller) == {(0, 0)}
    rows = await world.sql("select outcome, status, charged_tokens from audit_log")
    assert [tuple(row) for row in rows] == [("not_forwarded", 503, 0)]


@pytest.mark.promise("D2", "F2")
async def test_a_session_that_hangs_then_wakes_leaves_nothing_reserved(world: World) -> None:
    """A stopped session holds the call in its socket: it would run it whenever it wakes, after any time-out."""
    caller = await world.caller()
    async with running_ledger(world.url, statement_timeout_seconds=0.3, answer_within_seconds=0.2) as ledger:
        for _ in range(50):
            ledger.settle(completed(await _patiently(ledger, world, caller.key_prefix), 0))
        (session,) = await world.sql(_SESSION)
        os.kill(session["pid"], signal.SIGSTOP)
        try:
            started = asyncio.get_running_loop().time()
            with pytest.raises(UnavailableError):
                await ledger.reserve(caller, make_ask())
            assert asyncio.get_running_loop().time() - started < 1.0
            await until(lambda: _is(ledger.pending == 1 and len(ledger._doubtful) == 1))
            await asyncio.sleep(1.5)  # well past the statement time-out and its margin
            assert ledger.pending == 1, "the session is there yet, so the call may still be run"
        finally:
            os.kill(session["pid"], signal.SIGCONT)
    assert await world.usage(caller) == {(0, 0)}
    assert await world.count("reservations") == 0


async def _is(truth: bool) -> bool:
    return truth


async def _patiently(ledger: BudgetLedger, world: World, prefix: str) -> Any:
    while True:
        try:
            return await ledger.reserve(await world.principal(prefix), make_ask())
        except UnavailableError:  # a shared machine may well take longer than the short answer time of this test
            await asyncio.sleep(0.05)


@pytest.mark.promise("F2", "F5")
async def test_postgres_may_come_after_the_ledger(world: World) -> None:
    database = make_database("postgresql+asyncpg://gateway@/gateway?host=/nowhere")
    repository = Ledger(database)
    life = ProcessLife(repository, new_id=uuid7)
    ledger = BudgetLedger(repository, life=life, statement_timeout_seconds=1, close_within_seconds=0.2)
    await ledger.start()
    with pytest.raises(UnavailableError):
        await ledger.reserve(await world.caller(), make_ask())
    await ledger.aclose()
    await database.aclose()


async def test_settlements_wait_for_postgres_in_a_bounded_queue(world: World) -> None:
    """Behind a lock that nobody gives back, then past it: what fits is charged, what does not is counted as lost."""
    caller = await world.caller()
    events: Counter[str] = Counter()

    def happened(event: str) -> None:
        events[event] += 1

    async with running_ledger(world.url, statement_timeout_seconds=0.3, max_queued=20, happened=happened) as ledger:
        held = [await _patiently(ledger, world, caller.key_prefix) for _ in range(30)]
        async with world.connection() as other, other.transaction():
            await other.execute("select 1 from reservations for update")
            ledger.settle(completed(held[0], 10))
            await until(lambda: _is(not ledger._settling._group._queue))
            for reservation in held[1:]:
                ledger.settle(completed(reservation, 10))
            await asyncio.sleep(0.5)
            assert ledger.pending == 21
    assert events["settlement_lost"] == 9
    assert await world.usage(caller) == {(210, 9 * 150)}


async def test_a_process_registers_then_leaves_no_trace(world: World) -> None:
    caller = await world.caller()
    async with running_ledger(world.url, heartbeat_seconds=0.05) as ledger:
        ((first,),) = await world.sql("select heartbeat_at from processes")
        await until(lambda: world.sql("select 1 from processes where heartbeat_at > $1", first))
        await world.sql("delete from processes")
        await until(lambda: world.count("processes"))
        assert await world.count("reservations") == 0
        ledger.settle(completed(await ledger.reserve(caller, make_ask())))
    assert await world.count("processes") == 0


async def test_a_process_that_still_holds_something_stays_for_recovery(world: World) -> None:
    caller = await world.caller()
    async with running_ledger(world.url) as ledger:
        await ledger.reserve(caller, make_ask())
    assert await world.count("processes") == 1
    with pytest.raises(UnavailableError):
        await ledger.reserve(caller, make_ask())


@pytest.mark.promise("B2", "D1")
@pytest.mark.parametrize("refused_first", [True, False])
async def test_a_request_refused_while_its_reservation_was_under_way_has_one_row_and_holds_nothing(
    world: World, *, refused_first: bool
) -> None:
    """A commit slower than the answer time: its caller was refused, that refusal written down under the request's id.

    The release of the late reservation then broke the audit log's key and was dropped: its tokens stayed reserved for
    as long as the process lived. It showed under every slow commit and every lost answer of Postgres.
    """
    caller = await world.caller()
    ask = make_ask()
    events: list[str] = []
    async with running_ledger(world.url, answer_within_seconds=0.3, happened=events.append) as ledger:
        ledger.settle(completed(await _patiently(ledger, world, caller.key_prefix), 70))
        async with world.connection() as other, other.transaction():
            await other.execute("select 1 from budget_usage for update")
            with pytest.raises(UnavailableError) as refused:
                await ledger.reserve(caller, ask)
            assert refused.value.in_doubt, "its row must not be one that others share"
            if refused_first:
                ledger.refuse(refusal_of(caller, ask))
                await until(lambda: world.sql("select 1 from audit_log where outcome = 'refused'"))
        await until(lambda: _is(ledger.pending == 0))
        if not refused_first:
            ledger.refuse(refusal_of(caller, ask))
    assert events == []
    assert await world.usage(caller) == {(70, 0)}
    assert await world.count("reservations") == 0
    rows = await world.sql("select outcome, status from audit_log where id = $1", ask.id)
    assert [tuple(row) for row in rows] == [("refused" if refused_first else "not_forwarded", 503)]


async def test_a_release_finds_the_refusal_of_the_day_before(world: World) -> None:
    """The audit log's key has the day in it, so around midnight the same request could get two rows."""
    caller = await world.caller()
    async with running_ledger(world.url) as ledger:
        ask = make_ask(admitted_at=datetime.now(UTC) - timedelta(days=1))
        reservation = await ledger.reserve(caller, ask)
        ledger.refuse(refusal_of(caller, ask))
        await until(lambda: world.count("audit_log"))
        await world.sql("update audit_log set recorded_on = recorded_on - 1")
        ledger.settle(completed(reservation, 0, Outcome.NOT_FORWARDED))
    assert await world.usage(caller) == {(0, 0)}
    assert await world.count("audit_log") == 1


class OddLedger(ForgetfulLedger):
    """Has a defect that shows twice, in a heartbeat, in the search for a lost session."""

    shown: ClassVar[Counter[str]] = Counter()

    async def heartbeat(self, process_id: UUID, *, host: str, pid: int) -> datetime | None:
        self.shown["heartbeat"] += 1
        if self.shown["heartbeat"] == 2:
            raise RuntimeError("nobody thought of this")
        return await super().heartbeat(process_id, host=host, pid=pid)

    async def end_sessions(self, sessions: Iterable[str]) -> set[str]:
        self.shown["end_sessions"] += 1
        if self.shown["end_sessions"] == 1:
            raise RuntimeError("nor of this")
        return await super().end_sessions(sessions)


async def test_no_work_in_the_background_ends_at_a_defect(world: World) -> None:
    """A heartbeat that ended in silence would have had the reservations of a living process swept as abandoned."""
    caller = await world.caller()
    OddLedger.shown.clear()
    OddLedger.forgotten = 0
    async with running_ledger(world.url, OddLedger, heartbeat_seconds=0.05) as ledger:
        with pytest.raises(UnavailableError):
            await ledger.reserve(caller, make_ask())
        await until(lambda: _is(OddLedger.shown["heartbeat"] > 3 and ledger.pending == 0))
    assert await world.usage(caller) == {(0, 0)}
    assert OddLedger.shown["end_sessions"] > 1


async def test_a_settlement_that_comes_while_the_ledger_closes_is_written_down(world: World) -> None:
    """Handlers that are cancelled at the end are not waited for: one that needed a turn more lost its settlement."""
    caller = await world.caller()
    async with running_ledger(world.url, unwind_within_seconds=10) as ledger:
        reservations = [await ledger.reserve(caller, make_ask()) for _ in range(2)]
        closing = asyncio.create_task(ledger.aclose())
        for reservation in reservations:
            for _ in range(3):
                await asyncio.sleep(0)
            ledger.settle(completed(reservation, 10))
        await closing
    assert await world.usage(caller) == {(20, 0)}
