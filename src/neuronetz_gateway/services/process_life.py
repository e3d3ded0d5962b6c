"""The heartbeat by which recovery knows that this process lives."""

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from uuid import UUID

import structlog

from neuronetz_gateway.errors import AnswerCutError, UnavailableError
from neuronetz_gateway.repositories.ledger import Ledger

_log = structlog.get_logger(__name__)
_RETRY_SECONDS = 1.0


def reservations_lost() -> AnswerCutError:
    """What the callers of a process are told that was taken for dead."""
    return AnswerCutError("The answer was cut by the gateway: its reservation was given up for lost, charged in full.")


class ProcessLife:
    """Registers the process, tells Postgres every `heartbeat_seconds` that it lives.

    Postgres may be away at the start: `registered` turns true when it has come. A process that was taken for dead
    (paused, or cut off from Postgres for too long) goes on under a new id. What it held is charged in full by then, so
    `cut_all` ends whatever runs on it, giving how many that were. `heard` is told of each heartbeat when it was, by the
    clock of Postgres, or None where it failed. `happened` counts declared_dead.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        new_id: Callable[[], UUID],
        heartbeat_seconds: float = 5.0,
        heard: Callable[[datetime | None], None] = lambda _: None,
        cut_all: Callable[[], int] = lambda: 0,
        happened: Callable[[str], None] = lambda _event: None,
    ) -> None:
        self._ledger = ledger
        self._new_id = new_id
        self._heartbeat_seconds = heartbeat_seconds
        self._heard = heard
        self._cut_all = cut_all
        self._happened = happened
        self._host, self._pid = socket.gethostname(), os.getpid()
        self._hurry = asyncio.Event()
        self._answered = asyncio.Event()  # Postgres has been asked for the id of now, whatever came of it
        self._answered.set()
        self._task: asyncio.Task[None] | None = None
        self.process_id = new_id()
        self.registered = False

    async def start(self) -> None:
        """Beats once, then in the background."""
        alive = await self._beat()
        self._task = asyncio.get_running_loop().create_task(self._go_on(alive=alive), name="process-heartbeat")

    async def aclose(self) -> None:
        """Ends the heartbeat; a process that holds nothing leaves no trace. Does nothing if it was never started.

        One that still holds something stays on the list, for recovery to find.
        """
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait([self._task])
        self._task = None
        try:
            await self._ledger.forget_process(self.process_id)
        except UnavailableError as error:
            _log.warning("process_not_forgotten", error=str(error.__cause__))

    async def until_registered(self, within_seconds: float) -> None:
        """Where a new id has just been taken, waits for what Postgres says of it; `registered` tells then.

        The callers of what was cut ask again at once, sooner than the new id can be on the list.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(within_seconds):
                await self._answered.wait()

    def declared_dead(self, process_id: UUID) -> None:
        """Takes a new id, registers it at once; synchronous. An id that is given up already changes nothing."""
        if process_id != self.process_id:
            return
        self.process_id, self.registered = self._new_id(), False
        self._answered.clear()
        self._heard(None)
        # Everything that was reserved under the old id is an open admission by now, so that nothing runs on uncharged.
        cut = self._cut_all()
        self._happened("declared_dead")
        _log.error("declared_dead", process_id=str(process_id), new_process_id=str(self.process_id), cut=cut)
        self._hurry.set()

    async def _go_on(self, *, alive: bool) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause_seconds(alive=alive)):
                    await self._hurry.wait()
            self._hurry.clear()
            alive = await self._beat()

    def _pause_seconds(self, *, alive: bool) -> float:
        return self._heartbeat_seconds if alive else min(_RETRY_SECONDS, self._heartbeat_seconds)

    async def _beat(self) -> bool:
        process_id = self.process_id
        try:
            return await self._beat_as(process_id)
        finally:
            if process_id == self.process_id:  # else a reservation found out first
                self._answered.set()

    async def _beat_as(self, process_id: UUID) -> bool:
        try:
            at = await self._ledger.heartbeat(process_id, host=self._host, pid=self._pid)
        except UnavailableError as error:
            _log.warning("heartbeat_failed", error=type(error.__cause__).__name__)
            self._heard(None)
            return False
        except Exception:  # noqa: BLE001 - with the heartbeat over, recovery would take this process for dead
            _log.exception("heartbeat_failed")
            self._heard(None)
            return False
        if at is None:
            self.declared_dead(process_id)
        elif process_id == self.process_id:
            self.registered = True
            self._heard(at)
        return True
