"""The heartbeat by which recovery knows that this process lives."""

import asyncio
import os
import socket
from uuid import UUID

import structlog

from neuronetz_gateway.errors import UnavailableError
from neuronetz_gateway.repositories.ledger import Ledger

_log = structlog.get_logger(__name__)
_PARTITIONS_AHEAD_DAYS = 7
_PARTITIONS_EVERY_SECONDS = 3600.0
_RETRY_SECONDS = 1.0


class ProcessLife:
    """Registers the process, tells Postgres every `heartbeat_seconds` that it lives, keeps partitions ahead of time.

    Postgres may be away at the start: `registered` turns true when it has come.
    """

    def __init__(self, ledger: Ledger, process_id: UUID, *, heartbeat_seconds: float) -> None:
        self._ledger = ledger
        self._process_id = process_id
        self._heartbeat_seconds = heartbeat_seconds
        self._host, self._pid = socket.gethostname(), os.getpid()
        self._partitions_due_at = 0.0
        self._task: asyncio.Task[None] | None = None
        self.registered = False

    async def start(self) -> None:
        """Beats once, then in the background."""
        alive = await self._beat()
        self._task = asyncio.get_running_loop().create_task(self._go_on(alive=alive), name="process-heartbeat")

    async def aclose(self) -> None:
        """Ends the heartbeat; a process that holds nothing leaves no trace. Does nothing if it was never started."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait([self._task])
        self._task = None
        try:
            await self._ledger.forget_process(self._process_id)
        except UnavailableError as error:
            _log.warning("process_not_forgotten", error=str(error.__cause__))

    async def _go_on(self, *, alive: bool) -> None:
        while True:
            await asyncio.sleep(self._heartbeat_seconds if alive else min(_RETRY_SECONDS, self._heartbeat_seconds))
            alive = await self._beat()

    async def _beat(self) -> bool:
        loop = asyncio.get_running_loop()
        try:
            await self._ledger.heartbeat(self._process_id, host=self._host, pid=self._pid)
            self.registered = True
            if loop.time() >= self._partitions_due_at:
                await self._ledger.ensure_partitions(_PARTITIONS_AHEAD_DAYS)
                self._partitions_due_at = loop.time() + _PARTITIONS_EVERY_SECONDS
        except UnavailableError as error:
            _log.warning("heartbeat_failed", error=type(error.__cause__).__name__)
            return False
        except Exception:  # noqa: BLE001 - with the heartbeat over, recovery would take this process for dead
            _log.exception("heartbeat_failed")
            return False
        return True
