"""Callers at a fixed rate, as a process of their own whose processor time is counted apart."""

import asyncio
import json
import os
import resource
import sys
import time
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvloop

from tests.support.flood import answer_end
from tests.support.large_bodies import SHAPES

_ROOT = Path(__file__).parents[2]
_TICK_SECONDS = 0.005
_PATIENCE_SECONDS = 30
_BODY = json.dumps(
    {"model": "fakea", "stream": False, "messages": [{"role": "user", "content": "Hello"}]}, separators=(",", ":")
).encode()


@dataclass(frozen=True, slots=True)
class Plan:
    """How many a second, for how long; keys and addresses go round. `{n}` in a key is another number each time.

    An address stands in X-Forwarded-For, as a trusted proxy would say it; without addresses nothing does. With shapes,
    of large_bodies, their bodies go round too: each is read, then refused for the name of its model.
    """

    base_url: str
    per_second: float
    seconds: float
    keys: tuple[str, ...]
    addresses: tuple[str, ...] = ()
    connections: int = 100
    shapes: tuple[str, ...] = ()
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Told:
    """What came of it. `unsent` found no free connection in time, `lost` got no answer; times are in seconds."""

    statuses: dict[int, int]
    unsent: int
    lost: int
    latencies: list[float] = field(repr=False)
    took_seconds: float
    processor_seconds: float

    @property
    def sent(self) -> int:
        return sum(self.statuses.values())

    def quantile(self, share: float) -> float:
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    def __str__(self) -> str:
        return (
            f"{self.sent} answers {self.statuses} at {self.sent / self.took_seconds:.0f}/s, p50 "
            f"{self.quantile(0.5) * 1000:.1f} ms, p99 {self.quantile(0.99) * 1000:.1f} ms, of its own "
            f"{self.processor_seconds / self.took_seconds:.0%} of a core"
        )


class _Line(asyncio.Protocol):
    """One connection, one request on it at a time."""

    def __init__(self, callers: "_Callers") -> None:
        self._callers = callers
        self._buffer = b""
        self._since = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's are of no common class
        self._callers.idle.append(self)

    def ask(self, request: bytes) -> None:
        self._since = time.perf_counter()
        assert self._transport is not None
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = answer_end(self._buffer)
        if end is None:
            return
        status = int(self._buffer[9:12])
        self._buffer = self._buffer[end:]
        self._callers.answered(self, status, time.perf_counter() - self._since)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._callers.broke(self)


class _Callers:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        bodies = (SHAPES[name].body(plan.size_bytes).replace(b'"fakea"', b'"f@kea"') for name in plan.shapes)
        self._bodies = tuple(bodies) or (_BODY,)
        self.idle: deque[_Line] = deque()
        self._busy: set[_Line] = set()
        self._statuses: Counter[int] = Counter()
        self._latencies: list[float] = []
        self._lost = self._asked = 0

    async def run(self) -> Told:
        parts, loop, plan = urlsplit(self._plan.base_url), asyncio.get_running_loop(), self._plan
        assert parts.hostname is not None
        assert parts.port is not None
        for _ in range(plan.connections):
            await loop.create_connection(lambda: _Line(self), parts.hostname, parts.port)
        began, total = time.perf_counter(), int(plan.per_second * plan.seconds)
        while (passed := time.perf_counter() - began) < plan.seconds + _TICK_SECONDS:
            due = min(total, int(passed * plan.per_second) + 1)
            while self._asked < due and self.idle:
                self._ask(self.idle.popleft())
            await asyncio.sleep(_TICK_SECONDS)
        took = time.perf_counter() - began
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while self._busy:
                await asyncio.sleep(_TICK_SECONDS)
        used = resource.getrusage(resource.RUSAGE_SELF)
        return Told(
            dict(self._statuses), total - self._asked, self._lost, self._latencies, took, used.ru_utime + used.ru_stime
        )

    def _ask(self, line: _Line) -> None:
        plan, number = self._plan, self._asked
        self._asked += 1
        self._busy.add(line)
        key = plan.keys[number % len(plan.keys)].replace("{n}", f"{number:026d}")
        lines = [b"POST /api/chat HTTP/1.1", b"Host: gateway", b"Authorization: Bearer " + key.encode()]
        if plan.addresses:
            lines.append(b"X-Forwarded-For: " + plan.addresses[number % len(plan.addresses)].encode())
        body = self._bodies[number % len(self._bodies)]
        lines.append(b"Content-Length: %d\r\n\r\n" % len(body))
        line.ask(b"\r\n".join(lines) + body)

    def answered(self, line: _Line, status: int, seconds: float) -> None:
        self._busy.discard(line)
        self._statuses[status] += 1
        self._latencies.append(seconds)
        self.idle.append(line)

    def broke(self, line: _Line) -> None:
        if line in self._busy:
            self._busy.discard(line)
            self._lost += 1
        elif line in self.idle:
            self.idle.remove(line)


class Callers:
    """The process; `told` is there once the block of `paced_callers` is left, or after `ended`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._told: Told | None = None

    async def ended(self) -> Told:
        if self._told is None:
            out, _ = await self._process.communicate()
            values: dict[str, Any] = json.loads(out)
            values["statuses"] = {int(status): count for status, count in values["statuses"].items()}
            self._told = Told(**values)
        return self._told


@asynccontextmanager
async def paced_callers(plan: Plan) -> AsyncIterator[Callers]:
    """They begin at once; leaving the block waits for their end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.paced_callers", json.dumps(asdict(plan)),
        cwd=_ROOT, stdout=asyncio.subprocess.PIPE, env={"PATH": os.environ["PATH"]},
    )  # fmt: skip
    callers = Callers(process)
    try:
        yield callers
        await callers.ended()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def main() -> None:
    values: dict[str, Any] = json.loads(sys.argv[1])
    lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    plan = Plan(**{**values, **lists})
    print(json.dumps(asdict(uvloop.run(_Callers(plan).run()))))


if __name__ == "__main__":
    main()
