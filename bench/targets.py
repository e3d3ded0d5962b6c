"""What can be measured: the upstream itself, nginx, the gateway, any other URL."""

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from bench import gateway, nginx, procstat

PROXY_CORE, OTHER_CORE = 0, 1
START_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Target:
    """Where to send the load, with whose processor time is counted; `processes` gives pids by part."""

    name: str
    base_url: str
    headers: dict[str, str] = field(default_factory=dict)
    processes: Callable[[], dict[str, list[int]]] = dict


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def given(text: str) -> Target:
    """`name=URL[,key=API_KEY][,pid=PID]`: any other gateway that is already running."""
    name, _, rest = text.partition("=")
    url, *others = rest.split(",")
    options = dict(part.split("=", 1) for part in others)
    headers = {"Authorization": f"Bearer {options['key']}"} if "key" in options else {}
    pid = int(options["pid"]) if "pid" in options else None
    return Target(name, url.rstrip("/"), headers, lambda: {"proxy": procstat.tree(pid)} if pid else {})


@contextlib.contextmanager
def direct() -> Iterator[Target]:
    """The fast fake Ollama; every other target stands before it."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.fast_ollama", "--port", str(port)], stdout=subprocess.DEVNULL
    )
    try:
        _wait_for(port, process)
        procstat.pin([process.pid], OTHER_CORE)
        yield Target("direct", f"http://127.0.0.1:{port}")
    finally:
        gateway.stop(process)


@contextlib.contextmanager
def through_nginx(folder: Path, upstream: Target) -> Iterator[Target | None]:
    """None, said aloud, where there is no nginx."""
    port = free_port()
    process = nginx.start(folder, port, _port(upstream))
    if process is None:
        print("nginx is not on the PATH: left out", file=sys.stderr)
        yield None
        return
    try:
        _wait_for(port, process)
        procstat.pin(procstat.tree(process.pid), PROXY_CORE)
        yield Target("nginx", f"http://127.0.0.1:{port}", {}, lambda: {"proxy": procstat.tree(process.pid)})
    finally:
        gateway.stop(process)


@contextlib.contextmanager
def through_gateway(folder: Path, upstream: Target) -> Iterator[Target]:
    port = free_port()
    running = gateway.start(folder, port, upstream.base_url)
    try:
        parts = _parts(running.process.pid, port)
        for name, pids in parts.items():
            procstat.pin(pids, PROXY_CORE if name == "proxy" else OTHER_CORE)
        headers = {"Authorization": f"Bearer {running.api_key}"}
        yield Target("gateway", running.base_url, headers, lambda: _parts(running.process.pid, port))
    finally:
        gateway.stop(running.process)


def _parts(pid: int, port: int) -> dict[str, list[int]]:
    """Whoever listens serves; the stores are known by their names."""
    pids = procstat.tree(pid)
    serving = procstat.listeners(pids, port)
    stores = {
        part: [other for other in pids if procstat.name(other).startswith(part) and other not in serving]
        for part in ("postgres", "valkey")
    }
    return {"proxy": serving or [pid]} | {part: found for part, found in stores.items() if found}


def _port(target: Target) -> int:
    return urlsplit(target.base_url).port or 80


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"nothing listens on port {port}: {process.args!r}")
