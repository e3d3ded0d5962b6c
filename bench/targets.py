"""What can be measured: the upstream itself, plain proxies before it, the gateway, anything that runs already."""

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from bench import bare, caddy, nginx, procstat
from bench.cases import OLLAMA_BODY, Case, Keys
from bench.children import stop
from bench.tenancy import KeyRing

START_SECONDS = 20
CHAT = "/api/chat"
PLAIN_PROXIES = {
    "nginx": (nginx.program, nginx.start),
    "caddy": (caddy.program, caddy.start),
    "uvicorn": (bare.program, bare.start),  # no proxy, but as plain
}
_GROUPS = {"uvicorn": frozenset({"small"})}  # all where none are named


@dataclass(frozen=True, slots=True)
class Target:
    """Where to send the load, with whose processor time is counted; `processes` gives pids by part."""

    name: str
    url: str
    headers: dict[str, str] = field(default_factory=dict)
    body: str = OLLAMA_BODY
    processes: Callable[[], dict[str, list[int]]] = dict
    keys: KeyRing | None = None  # of the gateway alone
    every_case: bool = True  # else those alone that compare workers
    groups: frozenset[str] = frozenset()  # of cases that it can serve; empty for all

    def takes(self, case: Case) -> bool:
        """Whether the case means this target: those of keys or workers are the gateway's own."""
        if not self.every_case:
            return case.of_workers
        if self.groups and case.group not in self.groups:
            return False
        return self.keys is not None or not (case.of_workers or case.keys is not Keys.OWN)

    @property
    def base_url(self) -> str:
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"


def listens(target: Target) -> bool:
    parts = urlsplit(target.url)
    with contextlib.suppress(OSError), socket.create_connection((parts.hostname or "", parts.port or 80), 1):
        return True
    return False


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def direct(port: int = 0) -> Iterator[Target]:
    """The fast fake Ollama, on a free port without another; every other target stands before it."""
    port = port or free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.fast_ollama", "--port", str(port)], stdout=subprocess.DEVNULL
    )
    try:
        _wait_for(port, process)
        procstat.pin([process.pid], procstat.UPSTREAM_CORE)
        yield Target("direct", f"http://127.0.0.1:{port}{CHAT}")
    finally:
        stop(process)


@contextlib.contextmanager
def through_proxy(name: str, folder: Path, upstream: Target) -> Iterator[Target | None]:
    """nginx, caddy or a bare uvicorn; None, said aloud, where its program is missing."""
    (program, start), port = PLAIN_PROXIES[name], free_port()
    found = program()
    if found is None:
        print(f"{name} is not there: left out", file=sys.stderr)
        yield None
        return
    process = start(found, folder, port, urlsplit(upstream.url).port or 80)
    try:
        _wait_for(port, process)
        procstat.pin(procstat.tree(process.pid), procstat.PROXY_CORE)
        url = f"http://127.0.0.1:{port}{CHAT}"
        groups = _GROUPS.get(name, frozenset())
        yield Target(name, url, processes=lambda: {"proxy": procstat.tree(process.pid)}, groups=groups)
    finally:
        stop(process)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"nothing listens on port {port}: {process.args!r}")
