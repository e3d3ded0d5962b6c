"""Releasing reservations of which nobody knows whether they were committed."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from uuid import UUID

import structlog

from neuronetz_gateway.db.group_commit import BatchDataError, NotCommittedError, UnknownOutcomeError
from neuronetz_gateway.errors import OverloadedError

_log = structlog.get_logger(__name__)
_RETRY_SECONDS = 0.1


@dataclass(slots=True)
class _Doubt:
    session: str
    until: float | None = None


class DoubtfulReservations:
    """Tries to release each until it was found, or can no longer come to be.

    It can come to be as long as the session that had the call is there (a commit may outlast any statement time-out),
    or, where a pooler hides sessions, for `possible_for_seconds` from the first answer of Postgres on.
    """

    def __init__(
        self,
        release: Callable[[UUID], Awaitable[bool]],
        end_sessions: Callable[[Iterable[str]], Awaitable[set[str]]],
        *,
        possible_for_seconds: float,
    ) -> None:
        self._release = release
        self._end_sessions = end_sessions
        self._possible_for_seconds = possible_for_seconds
        self._doubts: dict[UUID, _Doubt] = {}
        self._resolver: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._doubts)

    def add(self, reservation_ids: Iterable[UUID], session: str) -> None:
        """Takes reservations over whose call was lost together with a session of the server."""
        for reservation_id in reservation_ids:
            self._doubts[reservation_id] = _Doubt(session)
        if self._resolver is None:
            self._resolver = asyncio.get_running_loop().create_task(self._resolve(), name="doubtful-reservations")

    async def drain(self) -> None:
        """Returns when nothing is in doubt."""
        while self._resolver is not None:
            await asyncio.wait([self._resolver])

    async def stop(self) -> None:
        """Gives up; recovery finds what is left."""
        if self._resolver is not None:
            self._resolver.cancel()
            await asyncio.wait([self._resolver])

    async def _resolve(self) -> None:
        try:
            while self._doubts:
                try:
                    await self._try_all()
                except (NotCommittedError, UnknownOutcomeError) as error:
                    _log.info("doubtful_reservations_wait", count=len(self), error=str(error))
                except Exception:  # noqa: BLE001 - nobody else would release them while this process lives
                    _log.exception("doubtful_reservations_failed")
                if self._doubts:
                    await asyncio.sleep(_RETRY_SECONDS)
        finally:
            self._resolver = None

    async def _try_all(self) -> None:
        # The order matters: what a session did that was gone before is seen by the release that comes after.
        there = await self._end_sessions({doubt.session for doubt in self._doubts.values()})
        tried = dict(self._doubts)
        await asyncio.gather(*(self._try(reservation_id, doubt, there) for reservation_id, doubt in tried.items()))

    async def _try(self, reservation_id: UUID, doubt: _Doubt, there: set[str]) -> None:
        try:
            released = await self._release(reservation_id)
        except OverloadedError:
            return  # the next round tries again
        except BatchDataError as error:
            _log.error("doubtful_reservation_kept", reservation_id=str(reservation_id), error=str(error))
            released = True
        now = asyncio.get_running_loop().time()
        if doubt.until is None:
            doubt.until = now + self._possible_for_seconds
        if released or (doubt.session not in there and now >= doubt.until):
            self._doubts.pop(reservation_id, None)
