"""Holding tokens for requests, then settling what they consumed."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from uuid import UUID

import structlog

from neuronetz_gateway.common_timer import CommonTimer
from neuronetz_gateway.db.group_commit import BatchDataError, GroupCommit, NotCommittedError, UnknownOutcomeError
from neuronetz_gateway.domain.audit import Outcome, RefusalEvent, Settlement
from neuronetz_gateway.domain.budget import Reservation, ReservationAsk, Windows, windows_at
from neuronetz_gateway.domain.principal import Principal
from neuronetz_gateway.domain.usage import NOTHING
from neuronetz_gateway.errors import UnavailableError
from neuronetz_gateway.repositories.ledger import SWEPT, Ledger, ReservationRequest, Verdict
from neuronetz_gateway.services.budget_refusals import refusal_of
from neuronetz_gateway.services.commit_timing import timed
from neuronetz_gateway.services.doubtful_reservations import DoubtfulReservations
from neuronetz_gateway.services.patient_commit import PatientCommit
from neuronetz_gateway.services.process_life import ProcessLife

_log = structlog.get_logger(__name__)
_MARGIN_SECONDS = 1.0  # past the server's statement time-out: the time-out's own error must arrive
_CALLER_LEFT = 499
_UNAVAILABLE = 503


class BudgetLedger:
    """The owner of every reservation from the moment it is asked for (DESIGN §5).

    Whoever waits may leave, a commit may be unknown, Postgres may go away: what was reserved is settled or released
    all the same, exactly once. `happened` counts events by name: settlement_lost, refusal_lost, reservation_in_doubt;
    `took` is told of each batch whether it was to reserve, settle or refuse, with how many seconds it took.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        life: ProcessLife,
        statement_timeout_seconds: float,
        max_queued: int = 10_000,
        answer_within_seconds: float = 0.9,
        unwind_within_seconds: float = 1.0,
        close_within_seconds: float = 10.0,
        happened: Callable[[str], None] = lambda _event: None,
        took: Callable[[str, float], None] = lambda _operation, _seconds: None,
    ) -> None:
        self._ledger = ledger
        self._life = life
        self._answer_within_seconds = answer_within_seconds
        self._answering = CommonTimer(answer_within_seconds)
        self._unwind_within_seconds = unwind_within_seconds
        self._close_within_seconds = close_within_seconds
        self._happened = happened
        self._reserving = GroupCommit(
            timed(self._reserve_batch, "reserve", took),
            name="reserve",
            max_queued=max_queued,
            unclaimed=self._release_unclaimed,
        )
        settle, refuse = timed(ledger.settle, "settle", took), timed(self._refuse_batch, "refuse", took)
        self._settling = PatientCommit(settle, name="settlement", max_queued=max_queued, happened=happened)
        self._refusing = PatientCommit(refuse, name="refusal", max_queued=max_queued, happened=happened)
        self._doubtful = DoubtfulReservations(
            self._release,
            ledger.end_sessions,
            possible_for_seconds=statement_timeout_seconds + _MARGIN_SECONDS,
        )
        self._open = False
        self._held: set[UUID] = set()  # granted, not settled yet by whoever asked
        self._nothing_held = asyncio.Event()

    @property
    def pending(self) -> int:
        """How many reservations, settlements, refusals and releases Postgres has not answered yet."""
        return self._reserving.pending + self._settling.pending + self._refusing.pending + len(self._doubtful)

    @property
    def settlements_waiting(self) -> int:
        """How many settlements Postgres has not taken yet."""
        return self._settling.pending

    @property
    def refusals_waiting(self) -> int:
        """How many refusals Postgres has not taken yet."""
        return self._refusing.pending

    async def start(self) -> None:
        """Registers this process and begins its heartbeat; where Postgres is away it goes on trying."""
        await self._life.start()
        self._open = True

    async def aclose(self) -> None:
        """Flushes everything, for at most `close_within_seconds`; what is left then is for recovery.

        Whoever still holds a reservation has been cancelled by now, in no certain order, nor waited for (DESIGN §7): it
        has `unwind_within_seconds` to settle.
        """
        self._open = False
        await self._until_nothing_is_held()
        lanes = (self._reserving, self._doubtful, self._settling, self._refusing)
        try:
            async with asyncio.timeout(self._close_within_seconds):
                for lane in lanes:
                    await lane.drain()
        except TimeoutError:
            _log.error("ledger_closed_with_work_left", pending=self.pending)
        for lane in lanes:
            await lane.stop()
        await self._life.aclose()

    async def reserve(self, principal: Principal, ask: ReservationAsk) -> Reservation:
        """Holds the prompt bound and as much output as is wanted and left, committed.

        Raises BudgetExceededError, StalePrincipalError (read the principal anew), UnavailableError (whatever else:
        nothing is held then, or is released by this ledger).
        """
        if self._open and not self._life.registered:
            await self._life.until_registered(self._answer_within_seconds)
        if not (self._open and self._life.registered):
            raise UnavailableError("The budget ledger is not available.")
        self._ledger.check_reserving()
        windows = windows_at(ask.admitted_at, principal.time_zone)
        process_id = self._life.process_id
        future = self._reserving.submit(_request(process_id, principal, ask, windows))
        give_up = partial(_give_up, future)
        self._answering.start(give_up)
        try:
            verdict = await future
        except asyncio.CancelledError:
            self._release_if_granted(ask.id, future)
            raise
        except BatchDataError as error:
            _log.error("reservation_impossible", reservation_id=str(ask.id), error=str(error))
            raise UnavailableError("The budget ledger could not take this request.") from error
        except NotCommittedError as error:
            raise UnavailableError("The budget ledger is not available.") from error
        except (UnknownOutcomeError, TimeoutError) as error:
            doubtful = UnavailableError("The budget ledger is not available.")
            doubtful.in_doubt = True  # its release may yet need this request's one audit row
            raise doubtful from error
        finally:
            self._answering.stop(give_up)
        if verdict.granted_tokens is None:
            if verdict.refused_by == SWEPT:
                self._life.declared_dead(process_id)
            raise refusal_of(principal, ask, windows, verdict)
        self._held.add(ask.id)
        return Reservation(
            id=ask.id,
            tenant_id=principal.tenant_id,
            api_key_id=principal.api_key_id,
            prompt_bound_tokens=ask.prompt_bound_tokens,
            granted_output_tokens=verdict.granted_tokens,
            admitted_at=ask.admitted_at,
        )

    def settle(self, settlement: Settlement) -> None:
        """Hands the end of a reservation over; synchronous, never raises, idempotent by its id."""
        self._settling.post(settlement)
        self._held.discard(settlement.reservation_id)
        if not self._held:
            self._nothing_held.set()

    def refuse(self, refusal: RefusalEvent) -> None:
        """Hands a refusal over for the audit log; synchronous, never raises."""
        self._refusing.post(refusal)

    async def _until_nothing_is_held(self) -> None:
        self._nothing_held.clear()
        if self._held:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._nothing_held.wait(), self._unwind_within_seconds)

    async def _reserve_batch(self, batch: list[ReservationRequest]) -> list[Verdict]:
        try:
            return await self._ledger.reserve(batch)
        except UnknownOutcomeError as error:
            self._happened("reservation_in_doubt")
            self._doubtful.add([request.id for request in batch], error.session)
            raise

    async def _refuse_batch(self, batch: list[RefusalEvent]) -> Sequence[None]:
        await self._ledger.refuse(batch)
        return [None] * len(batch)

    async def _release(self, reservation_id: UUID) -> bool:
        return await self._settling.submit(_release(reservation_id, _UNAVAILABLE))

    def _release_unclaimed(
        self, request: ReservationRequest, verdict: Verdict, future: asyncio.Future[Verdict]
    ) -> None:
        if verdict.granted_tokens is not None:
            self.settle(_release(request.id, _CALLER_LEFT if future.cancelled() else _UNAVAILABLE))

    def _release_if_granted(self, reservation_id: UUID, future: asyncio.Future[Verdict]) -> None:
        """The caller left between the verdict and its own waking; later verdicts are _release_unclaimed's."""
        granted = future.done() and not future.cancelled() and future.exception() is None
        if granted and future.result().granted_tokens is not None:
            self.settle(_release(reservation_id, _CALLER_LEFT))


def _give_up(future: asyncio.Future[Verdict]) -> None:
    if not future.done():
        future.set_exception(TimeoutError())


def _release(reservation_id: UUID, status: int) -> Settlement:
    return Settlement(reservation_id, Outcome.NOT_FORWARDED, status, NOTHING)


def _request(process_id: UUID, principal: Principal, ask: ReservationAsk, windows: Windows) -> ReservationRequest:
    return ReservationRequest(
        ask.id,
        process_id,
        principal.tenant_id,
        principal.tenant_version,
        principal.api_key_id,
        principal.key_version,
        windows.day,
        windows.month,
        ask.prompt_bound_tokens,
        ask.output_wanted_tokens,
        ask.estimated_tokens,
        ask.model,
        ask.endpoint,
        ask.request_id,
        ask.address,
        ask.user_agent,
        ask.admitted_at,
    )
