"""Reading keys from Postgres, in batches of those that were asked for meanwhile."""

import asyncio
from collections.abc import Callable, Collection
from itertools import islice

from neuronetz_gateway.db.database import Database
from neuronetz_gateway.errors import OverloadedError, UnavailableError
from neuronetz_gateway.repositories.api_keys import KeyRecord
from neuronetz_gateway.repositories.unit_of_work import unit_of_work

_BATCH = 64


class KeyLookup:
    """Finds records by prefix; each batch is one short transaction, one batch runs at a time.

    A record is always read after it was asked for, so this is no cache; but a prefix that many ask for meanwhile is
    read once. The patient (addresses that failed too often) wait for a common beat, so that however many they are, they
    cost one transaction a beat. While Postgres is known to be away nobody is kept waiting. `clock` is monotonic, in
    seconds.
    """

    def __init__(
        self,
        database: Database,
        *,
        timeout_seconds: float,
        clock: Callable[[], float],
        beat_seconds: float = 0.05,
        capacity: int = 4096,
    ) -> None:
        self._database = database
        self._breaker = database.breaker("look-up")
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._beat_seconds = beat_seconds
        self._capacity = capacity
        self._asked: dict[str, asyncio.Future[KeyRecord | None]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def find(self, prefix: str, *, patient: bool = False) -> KeyRecord | None:
        """The record with this prefix as it stands now. Raises UnavailableError, in time; at once in an outage."""
        if patient:
            await asyncio.sleep(self._beat_seconds - self._clock() % self._beat_seconds)
        self._breaker.check()
        answer = self._asked.get(prefix) or self._ask(prefix)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await asyncio.shield(answer)
        except TimeoutError as error:
            raise UnavailableError("The key could not be looked up in time.") from error

    async def aclose(self) -> None:
        """Waits until everybody who asked has been answered."""
        if self._reading is not None:
            await asyncio.wait([self._reading])

    def _ask(self, prefix: str) -> asyncio.Future[KeyRecord | None]:
        if len(self._asked) >= self._capacity:
            raise OverloadedError("Too many keys are being looked up.")
        answer = self._asked[prefix] = asyncio.get_running_loop().create_future()
        if self._reading is None:
            self._reading = asyncio.create_task(self._read(), name="key-lookup")
        return answer

    async def _read(self) -> None:
        try:
            while self._asked:
                batch = dict(islice(self._asked.items(), _BATCH))
                for prefix in batch:
                    del self._asked[prefix]
                await self._answer(batch)
        finally:
            self._reading = None

    async def _answer(self, batch: dict[str, asyncio.Future[KeyRecord | None]]) -> None:
        try:
            with self._breaker.attempt():
                records = await self._records(batch)
        except BaseException as error:
            for answer in batch.values():
                # Whoever stopped this task must not stop those who wait for it, but they must hear of it.
                answer.set_exception(error if isinstance(error, Exception) else UnavailableError("Stopped."))
                answer.exception()  # looked at, in case that nobody waits any more
            if not isinstance(error, Exception):
                raise
        else:
            for prefix, answer in batch.items():
                answer.set_result(records[prefix])

    async def _records(self, prefixes: Collection[str]) -> dict[str, KeyRecord | None]:
        async with unit_of_work(self._database) as uow:
            found = await uow.api_keys.find_by_prefixes(prefixes)
        return {prefix: found.get(prefix) for prefix in prefixes}
