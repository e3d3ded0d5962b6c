"""How long Postgres takes for a batch."""

from collections.abc import Awaitable, Callable, Sequence
from time import monotonic

type Commit[Item, Verdict] = Callable[[list[Item]], Awaitable[Sequence[Verdict]]]


def timed[Item, Verdict](
    commit: Commit[Item, Verdict], operation: str, took: Callable[[str, float], None]
) -> Commit[Item, Verdict]:
    """The same commit, which tells `took` its seconds, however it ends: a time-out is what one looks for."""

    async def timed_commit(batch: list[Item]) -> Sequence[Verdict]:
        began = monotonic()
        try:
            return await commit(batch)
        finally:
            took(operation, monotonic() - began)

    return timed_commit
