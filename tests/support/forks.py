"""Gateway processes that are forked from a zygote, in a fraction of the time that a fresh one takes to start."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_END_SECONDS = 10


class Fork:
    """One forked process; `status` as subprocess has it: negative for a signal."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.status: int | None = None
        self._ended = asyncio.Event()

    @property
    def returncode(self) -> int | None:
        """As subprocess calls it, so that a fork may stand for a process."""
        return self.status

    def send(self, number: signal.Signals) -> None:
        """Does nothing to a process that has ended."""
        if self.status is None:
            os.kill(self.pid, number)

    send_signal = send

    def terminate(self) -> None:
        self.send(signal.SIGTERM)

    def kill(self) -> None:
        self.send(signal.SIGKILL)

    async def wait(self) -> int:
        await self._ended.wait()
        assert self.status is not None
        return self.status

    def note_end(self, status: int) -> None:
        self.status = status
        self._ended.set()


class Zygote:
    """The process that forks, shared by the tests of a session; `attached` ties it to the loop of one test."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.zygote"],
            cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"PATH": os.environ["PATH"]}, bufsize=0,
        )  # fmt: skip
        self._asked: deque[asyncio.Future[Fork]] = deque()
        self._forks: dict[int, Fork] = {}
        self._buffer = b""
        self._attached = 0

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Hears the zygote in the running loop, which is the same for all who do so at once."""
        loop = asyncio.get_running_loop()
        heard = self._process.stdout
        assert heard is not None
        if not self._attached:
            loop.add_reader(heard.fileno(), self._hear, heard.fileno())
        self._attached += 1
        try:
            yield
        finally:
            self._attached -= 1
            if not self._attached:
                loop.remove_reader(heard.fileno())

    async def fork(self, *words: str, log: Path, environment: Mapping[str, str], out: Path | None = None) -> Fork:
        """A new process that runs `neuronetz-gateway` with these words; only while attached.

        What it says goes to `log`, or what stands on its stdout to `out`.
        """
        asked: asyncio.Future[Fork] = asyncio.get_running_loop().create_future()
        self._asked.append(asked)
        request = {"words": words, "out": str(out or log), "err": str(log), "environment": dict(environment)}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        return await asyncio.shield(asked)

    def close(self) -> None:
        """Ends the zygote with whatever it has forked."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait(_END_SECONDS)

    def _hear(self, descriptor: int) -> None:
        data = os.read(descriptor, 65536)
        if not data:
            asyncio.get_running_loop().remove_reader(descriptor)
            for asked in self._asked:
                asked.set_exception(RuntimeError("the zygote has ended; its stderr says why"))
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            self._take(json.loads(line))

    def _take(self, message: dict[str, int]) -> None:
        pid = message["pid"]
        if "status" in message:
            self._forks.pop(pid).note_end(message["status"])
        else:
            self._forks[pid] = Fork(pid)
            self._asked.popleft().set_result(self._forks[pid])
