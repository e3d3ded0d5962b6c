"""A parent process of our own making, which the tests of dying together kill."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

GONE_SECONDS = 15.0


class Parent:
    """A Python program in a process of its own; it says what it started, a line each, then waits."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        assert line, "the parent ended before it had said what it started"
        return line

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture
def parent() -> Iterator[Callable[..., Parent]]:
    """Run a program text with arguments as a parent; killed at the end of the test at the latest."""
    with ExitStack() as running:

        def run(program: str, *arguments: object) -> Parent:
            words = [sys.executable, "-c", program, *map(str, arguments)]
            process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
            running.enter_context(process)
            running.callback(process.kill)
            return Parent(process)

        yield run


@pytest.fixture
def gone() -> Callable[[int], bool]:
    """Wait until a process, not a child of ours, has ended."""

    def wait(pid: int) -> bool:
        try:
            process = os.pidfd_open(pid)
        except ProcessLookupError:
            return True
        try:
            return bool(select.select([process], [], [], GONE_SECONDS)[0])
        finally:
            os.close(process)

    return wait


@pytest.fixture
def killed() -> Iterator[list[int]]:
    """Process ids that must not outlive a failing test."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
