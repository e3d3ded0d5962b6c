"""A real Caddy before a gateway, on the Caddyfile that operators are given."""

import asyncio
import os
import shutil
import signal
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.support.gateways import free_port
from tests.support.no_tls import NO_TLS

CADDYFILE = Path(__file__).resolve().parents[2] / "ops" / "caddy" / "Caddyfile.example"
_ROOT = Path(".local") / "share" / "caddy" / "pki" / "authorities" / "local" / "root.crt"


@dataclass(frozen=True, slots=True)
class Edge:
    base_url: str
    log: Path
    root: Path  # of the authority that Caddy is to itself, for the name of this machine alone
    plain_port: int  # what it has for those who come without TLS

    @property
    def port(self) -> int:
        return int(self.base_url.rpartition(":")[2])

    @property
    def tls(self) -> ssl.SSLContext | None:
        """What trusts its authority alone; None where it has no TLS. Raises OSError while there is none yet."""
        return ssl.create_default_context(cafile=str(self.root)) if self.name else None

    @property
    def name(self) -> str | None:
        return "localhost" if self.base_url.startswith("https") else None

    def http(self, headers: dict[str, str] | None = None) -> httpx.AsyncClient:
        verify = self.tls or NO_TLS
        return httpx.AsyncClient(base_url=self.base_url, headers=headers, verify=verify, trust_env=False, timeout=30)


def caddy() -> str:
    """The program; a test that needs it is skipped where it is missing, saying so."""
    beside = Path(sys.executable).with_name("caddy")
    found = str(beside) if beside.is_file() else shutil.which("caddy")
    if found is None:
        pytest.skip("caddy is missing, so nothing was seen of the edge")
    return found


@asynccontextmanager
async def edge_before(
    gateway_url: str, folder: Path, *, tls: bool = False, caddyfile: Path = CADDYFILE, **more: str
) -> AsyncIterator[Edge]:
    """Caddy on free ports, ended by SIGTERM; TLS is by a certificate of its own. `more` are variables for its file."""
    base_url = f"https://localhost:{free_port()}" if tls else f"http://127.0.0.1:{free_port()}"
    edge = Edge(base_url, folder / "caddy.log", folder / _ROOT, free_port())
    plain_and_tls = (edge.plain_port, edge.port) if tls else (edge.port, edge.plain_port)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "GATEWAY_SITE": edge.base_url,
        "GATEWAY_UPSTREAM": gateway_url.removeprefix("http://"),
        "GATEWAY_HTTP_PORT": str(plain_and_tls[0]),
        "GATEWAY_HTTPS_PORT": str(plain_and_tls[1]),
        **more,
    }
    with edge.log.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            caddy(),
            "run",
            "--adapter",
            "caddyfile",
            "--config",
            str(caddyfile),
            stdout=log,
            stderr=log,
            env=environment,
            cwd=folder,
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
            with suppress(OSError):  # ssl.SSLError too: for a moment it has no certificate yet
                _, writer = await asyncio.open_connection(
                    "127.0.0.1", edge.port, ssl=edge.tls, server_hostname=edge.name
                )
                writer.close()
                await writer.wait_closed()
                return
            await asyncio.sleep(0.05)
