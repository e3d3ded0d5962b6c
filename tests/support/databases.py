"""Databases of tests, made ahead of them and dropped behind them."""

import asyncio
import threading
from collections import deque
from collections.abc import Coroutine
from concurrent.futures import Future
from itertools import count
from typing import Any

import asyncpg


class Databases:
    """Copies of a template: the next one is made, the last one dropped while a test runs, which then waits for neither.

    Of so small a template files are copied in half the time that pages take through the log. Whatever fails is raised
    by the next `take`, or at the end.
    """

    def __init__(self, dsn: str, template: str, prefix: str) -> None:
        self._template, self._prefix, self._numbers = template, prefix, count()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="databases", daemon=True)
        self._thread.start()
        connected: Future[Any] = self._soon(asyncpg.connect(dsn))
        self._connection = connected.result()
        self._turn = asyncio.Lock()
        self._dropping: deque[Future[None]] = deque()
        self._next = self._soon(self._make())

    def take(self) -> str:
        """The name of a database that nobody else has."""
        while self._dropping and self._dropping[0].done():
            self._dropping.popleft().result()
        name = self._next.result()
        self._next = self._soon(self._make())
        return name

    def drop(self, name: str) -> None:
        """Has it dropped, whoever is still connected to it."""
        self._dropping.append(self._soon(self._ask(f"DROP DATABASE {name} WITH (FORCE)")))

    def close(self) -> None:
        self._next.result()
        for each in self._dropping:
            each.result()
        self._soon(self._connection.close()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _make(self) -> str:
        name = f"{self._prefix}_{next(self._numbers)}"
        await self._ask(f"CREATE DATABASE {name} TEMPLATE {self._template} STRATEGY file_copy OWNER gateway")
        return name

    async def _ask(self, statement: str) -> None:
        async with self._turn:
            await self._connection.execute(statement)

    def _soon[Found](self, work: Coroutine[Any, Any, Found]) -> Future[Found]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)
