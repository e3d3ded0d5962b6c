"""Puts load on one target, prints what came back as JSON: `python -m bench.load` with a Load as JSON on stdin."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import uvloop

TIMEOUT_SECONDS = 120
_STAMP = re.compile(rb"@(\d+)@")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_LAST_CHUNK = b"\r\n0\r\n\r\n"
# wrk calls done() once; what it prints is the only line in braces.
_LUA_DONE = """
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('{"answers":%d,"seconds":%.6f,"failed":%d,"p50_ms":%.4f,"p99_ms":%.4f}\\n',
    summary.requests, summary.duration / 1e6, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
"""


@dataclass(frozen=True, slots=True)
class Load:
    """Closed loop of `connections` for `seconds`; with `paced`, that many streams once, started over one second."""

    url: str
    headers: dict[str, str]
    body: str
    connections: int
    seconds: float
    paced: bool = False
    core: int | None = None  # where to run

    def request(self) -> bytes:
        parts = urlsplit(self.url)
        headers = {"Host": parts.netloc, "Content-Type": "application/json"} | self.headers
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        payload = self.body.encode()
        return f"POST {parts.path} HTTP/1.1\r\n{lines}Content-Length: {len(payload)}\r\n\r\n".encode() + payload


def percentile(values: Sequence[float], percent: float) -> float:
    """0 for no values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else 0.0


def run_wrk(program: str, load: Load) -> dict[str, float]:
    """Raises ValueError where wrk printed no result."""
    lines = [f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}" for name, value in load.headers.items()]
    body = ["wrk.method = 'POST'", f"wrk.body = {json.dumps(load.body)}"]
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "load.lua"
        script.write_text("\n".join([*body, "wrk.headers['Content-Type'] = 'application/json'", *lines, _LUA_DONE]))
        amount = [f"-c{load.connections}", f"-d{max(1, round(load.seconds))}s", "--timeout", "20s"]
        command = [program, "-t1", *amount, "-s", str(script), load.url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=True)
    found = re.search(r"^\{.*\}$", done.stdout, re.MULTILINE)
    if found is None:
        raise ValueError(done.stdout + done.stderr)
    result: dict[str, float] = json.loads(found[0])
    return result


@dataclass(slots=True)
class Tally:
    answers: int = 0
    failed: int = 0
    records: int = 0
    latency: list[float] = field(default_factory=list)  # seconds: to the last byte, or to the first record
    gaps: list[float] = field(default_factory=list)  # seconds
    transit: list[float] = field(default_factory=list)  # seconds from the upstream's write to our read


class Caller(asyncio.Protocol):
    """One connection; asks again after each whole answer until `until`."""

    def __init__(self, load: Load, tally: Tally, until: float) -> None:
        self._request, self._paced, self._tally, self._until = load.request(), load.paced, tally, until
        self._buffer = b""
        self._last_read = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's does not say that it is one
        self._ask()

    def _ask(self) -> None:
        self._buffer, self._began, self._last_read = b"", time.perf_counter(), 0.0
        self._transport.write(self._request)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if not self.done.done():
            self._tally.failed += 1
            self.done.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._paced:
            self._note_records()
        if not self._complete():
            return
        if not self._paced:
            self._tally.latency.append(time.perf_counter() - self._began)
        self._tally.answers += 1
        if self._paced or time.perf_counter() >= self._until:
            self.done.set_result(None)
            self._transport.close()
        else:
            self._ask()

    def _note_records(self) -> None:
        """Take the whole lines out of the buffer; what is kept is enough to see the end."""
        cut = self._buffer.rfind(b"\n") + 1
        stamps = _STAMP.findall(self._buffer, 0, cut)
        now, clock = time.perf_counter(), time.monotonic_ns()
        for stamp in stamps:
            self._tally.records += 1
            self._tally.transit.append((clock - int(stamp)) / 1e9)
        if stamps and self._last_read:
            self._tally.gaps.append(now - self._last_read)
        elif stamps:
            self._tally.latency.append(now - self._began)
        if stamps:
            self._last_read = now
            kept = min(cut, len(self._buffer) - len(_LAST_CHUNK))
            self._buffer = b"HTTP/1.1 200 \r\n\r\n" + self._buffer[kept:]

    def _complete(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        if not self._buffer.startswith(b"HTTP/1.1 200"):
            self._tally.failed += 1
            self._transport.abort()
            self.done.set_result(None)
            return False
        length = _LENGTH.search(self._buffer, 0, end)
        if length is not None:
            return len(self._buffer) >= end + 4 + int(length[1])
        return self._buffer.endswith(_LAST_CHUNK)


async def run_callers(load: Load) -> dict[str, float]:
    parts, loop, tally = urlsplit(load.url), asyncio.get_running_loop(), Tally()
    began, callers = time.perf_counter(), []
    for index in range(load.connections):
        make = lambda: Caller(load, tally, began + load.seconds)  # noqa: E731 a factory is all the loop wants
        _, caller = await loop.create_connection(make, parts.hostname or "127.0.0.1", parts.port or 80)
        callers.append(caller)
        if load.paced:
            await asyncio.sleep(max(0.0, began + (index + 1) / load.connections - time.perf_counter()))
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await asyncio.gather(*(caller.done for caller in callers))
    times = {"latency": tally.latency, "gap": tally.gaps, "transit": tally.transit}
    shares = {
        f"{name}_p{percent}_ms": percentile(values, percent) * 1e3
        for name, values in times.items()
        for percent in (50, 99)
    }
    counts = {"answers": tally.answers, "failed": tally.failed, "records": tally.records}
    seconds = {"seconds": time.perf_counter() - began}
    return counts | seconds | shares | {"p50_ms": shares["latency_p50_ms"], "p99_ms": shares["latency_p99_ms"]}


def start(load: Load) -> dict[str, Any]:
    """Run the load in a process of its own; raises CalledProcessError where it failed."""
    command = [sys.executable, "-m", "bench.load"]
    told = subprocess.run(command, input=json.dumps(asdict(load)), stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(told.stdout)
    return result


def main() -> None:
    load = Load(**json.load(sys.stdin))
    if load.core is not None and load.core < (os.cpu_count() or 1) and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {load.core})
    wrk = shutil.which("wrk")
    print(json.dumps(uvloop.run(run_callers(load)) if load.paced or wrk is None else run_wrk(wrk, load)))


if __name__ == "__main__":
    main()
