"""Writing down when keys were last used, many at a time."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from ipaddress import ip_address
from uuid import UUID

import structlog

from neuronetz_gateway.db.database import Database
from neuronetz_gateway.errors import UnavailableError
from neuronetz_gateway.repositories.key_uses import KeyUse
from neuronetz_gateway.repositories.unit_of_work import unit_of_work

_log = structlog.get_logger(__name__)


class KeyUseRecorder:
    """Remembers the latest use of each key, writes them down every so often, once more at the end.

    What an outage keeps from being written is written after it; a process that is killed loses `every_seconds` of it,
    which harms nobody: the audit log has every request.
    """

    def __init__(
        self,
        database: Database,
        *,
        every_seconds: float,
        now: Callable[[], datetime],
        happened: Callable[[str], None] = lambda _event: None,
    ) -> None:
        self._database = database
        self._every_seconds = every_seconds
        self._now = now
        self._happened = happened
        self._uses: dict[UUID, tuple[datetime, str]] = {}
        self._ending = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def used(self, api_key_id: UUID, address: str) -> None:
        """A good use of a key, from an address."""
        self._uses[api_key_id] = self._now(), address

    async def start(self) -> None:
        """Begins to write in the background."""
        self._ending.clear()
        self._task = asyncio.create_task(self._go_on(), name="key-uses")

    async def aclose(self) -> None:
        """Writes what is left. Does nothing if it was never started."""
        task, self._task = self._task, None
        if task is not None:
            self._ending.set()
            await task

    async def flush(self) -> None:
        """Writes what is remembered; raises UnavailableError, having forgotten nothing."""
        uses, self._uses = self._uses, {}
        if not uses:
            return
        try:
            async with unit_of_work(self._database) as uow:
                await uow.key_uses.record(
                    [KeyUse(key_id, used_at, _readable(address)) for key_id, (used_at, address) in uses.items()]
                )
        except BaseException:
            self._uses = uses | self._uses  # what came meanwhile is later
            raise

    async def _go_on(self) -> None:
        ending = False
        while not ending:
            try:
                async with asyncio.timeout(self._every_seconds):
                    ending = await self._ending.wait()
            except TimeoutError:
                pass
            try:
                await self.flush()
            except UnavailableError as error:
                self._happened("key_uses_unwritten")
                _log.warning("key_uses_unwritten", cause=type(error.__cause__).__name__)


def _readable(address: str) -> str | None:
    """The address as Postgres reads it; a Unix socket has none."""
    try:
        return str(ip_address(address.partition("%")[0]))
    except ValueError:
        return None
