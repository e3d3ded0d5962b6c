"""Whether everything that a request needs is there."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

type Checks = Mapping[str, Callable[[], Awaitable[str | None]]]

# Readiness is open to everybody: however many ask, the stores are asked once a second.
_KEPT_SECONDS = 1.0


class Readiness:
    """Asks every dependency at once; a check gives None, or in a few plain words what is wrong.

    `clock` is monotonic, in seconds. Those who ask while a round is under way share its answer. Once this process is
    `stopping` nothing else matters: a balancer is to turn away at once. `found` is told of each dependency whether it
    answered.
    """

    def __init__(
        self,
        checks: Checks,
        *,
        clock: Callable[[], float],
        stopping: Callable[[], bool] = lambda: False,
        found: Callable[[str, bool], None] = lambda _name, _up: None,
    ) -> None:
        self._checks = checks
        self._clock = clock
        self._stopping = stopping
        self._found = found
        self._round: asyncio.Task[dict[str, str]] | None = None
        self._began = 0.0

    async def missing(self) -> dict[str, str]:
        """What is wrong, by the name of the dependency; empty when all is well."""
        if self._stopping():
            return {"gateway": "stopping"}
        if self._round is None or (self._round.done() and self._clock() - self._began >= _KEPT_SECONDS):
            self._began = self._clock()
            self._round = asyncio.create_task(self._ask(), name="readiness")
        return await asyncio.shield(self._round)

    async def _ask(self) -> dict[str, str]:
        problems = await asyncio.gather(*(check() for check in self._checks.values()))
        named = list(zip(self._checks, problems, strict=True))
        for name, problem in named:
            self._found(name, problem is None)
        return {name: problem for name, problem in named if problem is not None}
