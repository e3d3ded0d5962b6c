"""Shows on stderr, where that is a terminal, that long work goes on."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


@contextmanager
def progress(words: str) -> Iterator[tuple[Callable[[int | None], None], Callable[[int], None]]]:
    """A bar on stderr if that is a terminal: the one function takes what is expected, the other what has come."""
    console = Console(stderr=True)
    shown = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not sys.stderr.isatty(),
    )
    with shown:
        task = shown.add_task(words, total=None)
        yield (
            lambda total: shown.update(task, total=total or None),
            lambda count: shown.advance(task, count),
        )


@contextmanager
def waiting(words: str) -> Iterator[None]:
    """The words with something that moves, for work of which nobody knows how much there is."""
    if not sys.stderr.isatty():
        yield
        return
    with Console(stderr=True).status(words):
        yield
