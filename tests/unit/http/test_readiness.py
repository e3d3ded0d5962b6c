"""Readiness asks its dependencies at most once a second, however many ask it."""

import asyncio

from neuronetz_gateway.http.readiness import Readiness


class Dependency:
    def __init__(self) -> None:
        self.asked = 0
        self.problem: str | None = None

    async def check(self) -> str | None:
        self.asked += 1
        await asyncio.sleep(0)
        return self.problem


async def test_a_crowd_is_one_question() -> None:
    dependency, now = Dependency(), [0.0]
    readiness = Readiness({"postgres": dependency.check}, clock=lambda: now[0])
    assert await asyncio.gather(*(readiness.missing() for _ in range(100))) == [{}] * 100
    assert dependency.asked == 1
    dependency.problem = "Postgres does not answer."
    now[0] = 0.9
    assert await readiness.missing() == {}
    now[0] = 1.0
    assert await readiness.missing() == {"postgres": "Postgres does not answer."}
    assert dependency.asked == 2


async def test_one_who_leaves_does_not_end_the_question_for_the_others() -> None:
    dependency = Dependency()
    readiness = Readiness({"redis": dependency.check}, clock=lambda: 0.0)
    first, second = asyncio.create_task(readiness.missing()), asyncio.create_task(readiness.missing())
    await asyncio.sleep(0)
    first.cancel()
    assert await second == {}
