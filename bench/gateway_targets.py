"""The gateway as a target: quickstart's one process, or several workers on the same stores."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from bench import procstat
from bench.children import stop
from bench.gateway import Gateway, start, start_workers
from bench.targets import CHAT, Target, free_port
from bench.tenancy import KeyRing


@contextlib.contextmanager
def running_gateway(folder: Path, upstream_url: str) -> Iterator[Gateway]:
    """A quickstart on its core, its stores on theirs."""
    running = start(folder / "gateway", free_port(), upstream_url, folder / "gateway.log")
    try:
        for name, pids in parts(running).items():
            procstat.pin(pids, procstat.PROXY_CORE if name == "proxy" else procstat.STORES_CORE)
        yield running
    finally:
        stop(running.process)


def gateway_target(running: Gateway, ring: KeyRing) -> Target:
    return Target("gateway", running.base_url + CHAT, running.bearer, processes=lambda: parts(running), keys=ring)


@contextlib.contextmanager
def workers_target(running: Gateway, ring: KeyRing, workers: int, *, every_case: bool) -> Iterator[Target]:
    """Free to run on all cores: one of them would tell nothing."""
    port = free_port()
    process = start_workers(running, workers, port, running.env_file.with_name("workers.log"))
    try:
        procstat.pin(procstat.tree(process.pid), *range(os.cpu_count() or 1))

        def pids() -> dict[str, list[int]]:
            return parts(running) | {"proxy": procstat.tree(process.pid)}

        url = f"http://127.0.0.1:{port}{CHAT}"
        yield Target(f"gateway x{workers}", url, running.bearer, processes=pids, keys=ring, every_case=every_case)
    finally:
        stop(process)


def parts(running: Gateway) -> dict[str, list[int]]:
    """Whoever listens serves; the stores are known by their names."""
    pids = procstat.tree(running.process.pid)
    serving = procstat.listeners(pids, urlsplit(running.base_url).port or 80)
    stores = {
        part: [other for other in pids if procstat.name(other).startswith(part) and other not in serving]
        for part in ("postgres", "valkey")
    }
    return {"proxy": serving or [running.process.pid]} | {part: found for part, found in stores.items() if found}
