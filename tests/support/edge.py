"""A real Caddy before a gateway, on the Caddyfile that operators are given."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.gateways import free_port

CADDYFILE = Path(__file__).resolve().parents[2] / "deploy" / "Caddyfile"


@dataclass(frozen=True, slots=True)
class Edge:
    base_url: str
    log: Path

    @property
    def port(self) -> int:
        return int(self.base_url.rpartition(":")[2])


def caddy() -> str:
    """The program; a test that needs it is skipped where it is missing, saying so."""
    beside = Path(sys.executable).with_name("caddy")
    found = str(beside) if beside.is_file() else shutil.which("caddy")
    if found is None:
        pytest.skip("caddy is missing, so nothing was seen of the edge")
    return found


@asynccontextmanager
async def edge_before(gateway_url: str, folder: Path) -> AsyncIterator[Edge]:
    """Caddy on a free port, without TLS, ended by SIGTERM."""
    edge = Edge(f"http://127.0.0.1:{free_port()}", folder / "caddy.log")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "GATEWAY_SITE": edge.base_url,
        "GATEWAY_UPSTREAM": gateway_url.removeprefix("http://"),
    }
    with edge.log.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            caddy(), "run", "--config", str(CADDYFILE), stdout=log, stderr=log, env=environment, cwd=folder
        )
    try:
        await _until_listening(edge, process)
        yield edge
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.wait(), 20)


async def _until_listening(edge: Edge, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(20):
        while True:
            assert process.returncode is None, edge.log.read_text()
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", edge.port)
                writer.close()
                await writer.wait_closed()
                return
            await asyncio.sleep(0.05)
