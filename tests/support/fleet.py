"""Several gateway processes on one set of stores, to be killed at will."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.support.forks import Fork, Zygote
from tests.support.no_tls import NO_TLS

START_SECONDS = 30.0
END_SECONDS = 60.0  # more than a drain takes
_LOOK_SECONDS = 0.01
# Below the ports that Linux gives to outgoing connections: one of those would keep a killed gateway's port.
_FIRST_PORT, _PORTS = 20_000, 12_000


@dataclass(slots=True)
class Member:
    """One place of the fleet: its address stays, its process changes."""

    number: int
    port: int
    log: Path
    fork: Fork | None = None
    kills: list[float] = field(default_factory=list)  # when, by time.monotonic

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def running(self) -> Fork:
        assert self.fork is not None, f"gateway {self.number} was never started"
        return self.fork

    @property
    def said(self) -> str:
        """Its log, over all its processes."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def http(self, key: str | None = None, **options: Any) -> httpx.AsyncClient:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        options = {"timeout": 30, **options}
        return httpx.AsyncClient(base_url=self.base_url, headers=headers, verify=NO_TLS, trust_env=False, **options)

    async def status_of(self, path: str) -> int | None:
        """What an open page answers; None where nobody listens or answers."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return None
        try:
            writer.write(b"GET %b HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n" % path.encode())
            line = await reader.readline()
        except OSError:
            return None
        finally:
            writer.close()
        return int(line.split()[1]) if line else None


class Fleet:
    """The processes by their numbers, from 0. `fleet()` makes one."""

    def __init__(self, zygote: Zygote, env_file: Path, count: int) -> None:
        self._zygote = zygote
        self._env_file = env_file
        self.members = [
            Member(number, _free_port(), env_file.with_name(f"gateway-{number}.log")) for number in range(count)
        ]

    @property
    def kills(self) -> int:
        return sum(len(member.kills) for member in self.members)

    async def start(self, number: int, *, page: str = "/healthz") -> None:
        """Start its process, return when this page answers 200: `/readyz` waits for the stores too."""
        member = self.members[number]
        assert member.fork is None or member.fork.status is not None, "it runs"
        member.fork = await self._zygote.fork(
            "serve", "--env-file", str(self._env_file), "--port", str(member.port),
            log=member.log, environment={"PATH": os.environ["PATH"]},
        )  # fmt: skip
        await self.until(number, page)

    async def until(self, number: int, page: str = "/readyz", *, seconds: float = START_SECONDS) -> None:
        """Return when this page answers 200."""
        member = self.members[number]
        async with asyncio.timeout(seconds):
            while await member.status_of(page) != httpx.codes.OK:
                if member.running.status is not None:
                    raise RuntimeError(f"gateway {number} did not start: {member.said[-2000:]}")
                await asyncio.sleep(_LOOK_SECONDS)

    async def kill(self, number: int) -> None:
        """SIGKILL; returns when it is gone."""
        member = self.members[number]
        member.kills.append(time.monotonic())
        member.running.send(signal.SIGKILL)
        await member.running.wait()

    async def terminate(self, number: int) -> int:
        """SIGTERM; its exit status, after its drain."""
        running = self.members[number].running
        running.send(signal.SIGTERM)
        return await asyncio.wait_for(running.wait(), END_SECONDS)

    def stop(self, number: int) -> None:
        """SIGSTOP: its connections stay, it does nothing."""
        self.members[number].running.send(signal.SIGSTOP)

    def resume(self, number: int) -> None:
        """SIGCONT."""
        self.members[number].running.send(signal.SIGCONT)

    async def restart(self, number: int, *, page: str = "/healthz") -> None:
        """Start it again where it has ended, or end it by SIGTERM first."""
        if self.members[number].running.status is None:
            await self.terminate(number)
        await self.start(number, page=page)

    async def end(self) -> None:
        """SIGTERM to all, SIGKILL to who does not end; raises TimeoutError then."""
        running = [member.fork for member in self.members if member.fork and member.fork.status is None]
        for fork in running:
            fork.send(signal.SIGCONT)
            fork.send(signal.SIGTERM)
        try:
            async with asyncio.timeout(END_SECONDS):
                for fork in running:
                    await fork.wait()
        except BaseException:
            for fork in running:
                fork.send(signal.SIGKILL)
            raise


@asynccontextmanager
async def fleet(
    zygote: Zygote, env_file: Path, count: int, *, started: Callable[[int], bool] = lambda _: True
) -> AsyncIterator[Fleet]:
    """So many gateways with these settings, started at once where `started` holds; ended by SIGTERM on leaving."""
    with zygote.attached():
        gateways = Fleet(zygote, env_file, count)
        try:
            async with asyncio.TaskGroup() as starting:
                for number in filter(started, range(count)):
                    starting.create_task(gateways.start(number))
            yield gateways
        finally:
            await gateways.end()


def _free_port() -> int:
    """A port that nobody listens on, different from run to run."""
    start = int.from_bytes(os.urandom(2))
    for step in range(_PORTS):
        port = _FIRST_PORT + (start + step) % _PORTS
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no port is free")
