"""How `serve` ends with work under way, seen by what its requests were charged."""

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from neuronetz_gateway.wiring import Services
from tests.support.factories import make_tenancy
from tests.support.fake_ollama import FakeOllama, Script
from tests.support.load import CHAT
from tests.support.no_tls import NO_TLS
from tests.support.programs import children_of, program
from tests.support.stores import Stores


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.full), 2])
async def test_ctrl_c_twice_cuts_streams_off_and_settles_them(
    env_file: Path, tmp_path: Path, management: Services, stores: Stores, ollama: FakeOllama, workers: int
) -> None:
    """What the streams held stayed reserved, since nothing sees to the order at such an end.

    In a worker uvicorn raised the signals anew before anything was flushed; otherwise the event loop cancels all its
    tasks in any order, so that the ledger could be closed before the streams had handed their settlements over.
    """
    ollama.script = Script(tokens=5000, gap_seconds=0.02)
    tenancy = await make_tenancy(management)
    words = ("serve", "--port", "0", "--workers", str(workers), "--json", "--env-file", str(env_file))
    async with program(*words, log=tmp_path / "log", TMPDIR=str(tmp_path)) as serving:
        base_url = (await serving.document())["base_url"]
        async with httpx.AsyncClient(
            base_url=base_url, headers=tenancy.bearer, verify=NO_TLS, trust_env=False, timeout=30
        ) as http:
            streams = [asyncio.create_task(http.post("/api/chat", json=CHAT)) for _ in range(5)]
            await ollama.wait_for(lambda: len(ollama.hits) == len(streams), 30)
            interrupted = [serving.process.pid, *(children_of(serving.process.pid) if workers > 1 else ())]
            for pid in interrupted * 2:  # as a terminal does it, for its whole foreground
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGINT)
                await asyncio.sleep(0.3)
            await asyncio.wait_for(serving.process.wait(), 20)
            await asyncio.gather(*streams, return_exceptions=True)
    rows = await stores.fetch("select outcome from audit_log")
    assert [row["outcome"] for row in rows] == ["cut"] * len(streams)
    assert await stores.fetch("select 1 from reservations") == []
