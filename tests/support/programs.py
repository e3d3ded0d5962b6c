"""Commands that stay: started as processes, watched until they are gone."""

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.gateways import COMMAND

START_SECONDS = 60
END_SECONDS = 40


@dataclass(slots=True)
class Program:
    process: asyncio.subprocess.Process
    log: Path

    @property
    def said(self) -> str:
        """What stands on its stderr by now."""
        return self.log.read_text(encoding="utf-8")

    async def document(self) -> Any:
        """Its first line on stdout, a JSON document."""
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), START_SECONDS)
        assert line, self.said
        return json.loads(line)

    async def has_said(self, words: str) -> None:
        async with asyncio.timeout(START_SECONDS):
            while words not in self.said:
                assert self.process.returncode is None, self.said
                await asyncio.sleep(0.02)

    async def ended_by(self, number: signal.Signals) -> int:
        """Its exit status after a signal."""
        self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), END_SECONDS)

    async def rest(self) -> bytes:
        """What else it wrote to stdout, to its end."""
        assert self.process.stdout is not None
        return await asyncio.wait_for(self.process.stdout.read(), END_SECONDS)


@asynccontextmanager
async def program(*words: str, log: Path, **environment: str) -> AsyncIterator[Program]:
    """The command line as a process with nothing but PATH and this environment; killed at the latest on leaving."""
    with log.open("wb") as err:
        process = await asyncio.create_subprocess_exec(
            COMMAND, *words, stdout=subprocess.PIPE, stderr=err, env={"PATH": os.environ["PATH"], **environment}
        )
    try:
        yield Program(process, log)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def children_of(pid: int) -> list[int]:
    """The direct children of a process."""
    found = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    pairs = (line.split() for line in found.splitlines())
    return [int(child) for child, parent in pairs if int(parent) == pid]


def all_gone(pids: list[int], seconds: float = 15) -> bool:
    """Whether all of them end in time; one that nobody has waited for yet counts as ended."""
    deadline = time.monotonic() + seconds
    while any(_lives(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _lives(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and not state.startswith("Z")
