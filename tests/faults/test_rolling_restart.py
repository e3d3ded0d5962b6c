"""One gateway after the other is restarted under load; no caller notices."""

import asyncio
import signal
import time
from pathlib import Path

import httpx
import pytest

from neuronetz_gateway.wiring import Services
from tests.support.balancer import BalancedLoad, balancer
from tests.support.factories import make_tenancy
from tests.support.fake_ollama import FakeOllama, Script
from tests.support.fleet import fleet
from tests.support.forks import Zygote
from tests.support.gateways import make_settings, write_env_file
from tests.support.load import CHAT
from tests.support.no_tls import NO_TLS
from tests.support.programs import program
from tests.support.raw_http import request_bytes, send_raw
from tests.support.stores import Stores

LONG = {**CHAT, "model": "fakeb", "stream": True}


@pytest.mark.promise("O4")
@pytest.mark.parametrize(
    ("per_second", "streams", "stream_seconds", "accept_seconds", "probe_seconds", "rounds"),
    [
        pytest.param(30, 10, 2.0, 3.0, 0.2, 1, id="scaled"),
        pytest.param(200, 100, 8.0, 5.0, 0.5, 2, id="full", marks=[pytest.mark.full, pytest.mark.timeout(300)]),
    ],
)
async def test_a_rolling_restart_fails_nobody(  # noqa: PLR0917 - its sizes, beside the stores
    zygote: Zygote,
    management: Services,
    stores: Stores,
    ollama: FakeOllama,
    env_path: Path,
    per_second: float,
    streams: int,
    stream_seconds: float,
    accept_seconds: float,
    probe_seconds: float,
    rounds: int,
) -> None:
    """uvicorn closed its listener as soon as it was told: whoever came before the next probe found nobody there."""
    tokens = 40
    ollama.for_model("fakeb:latest", Script(tokens=tokens, gap_seconds=stream_seconds / tokens))
    tenancy = await make_tenancy(management)
    settings = make_settings(stores, ollama.base_url, drain_accept_s=accept_seconds, drain_timeout_s=30)
    async with (
        fleet(zygote, write_env_file(env_path, settings), 2) as gateways,
        balancer(gateways.members, tenancy.key, probe_seconds=probe_seconds) as through,
    ):
        load = BalancedLoad(through, per_second=per_second, streams=streams, plain=CHAT, streamed=LONG)
        running, began = asyncio.create_task(load.run()), time.monotonic()
        await asyncio.sleep(stream_seconds / 2)  # the streams have spread over both
        for number in [0, 1] * rounds:
            assert await gateways.terminate(number) == 0
            await gateways.start(number, page="/readyz")
            await through.until(number, ready=True)
            sent = through.backends[number].sent
            async with asyncio.timeout(10):
                while through.backends[number].sent < sent + 10:
                    await asyncio.sleep(0.05)
        load.stop()
        seconds = time.monotonic() - began
        await running
    rows = await stores.fetch("select outcome, count(*) as many from audit_log group by outcome")
    answers, long_answers = sum(load.ends.values()), sum(load.stream_ends.values())
    lost = answers + long_answers - load.ends["whole"] - load.stream_ends["whole"]
    print(
        f"O4: {2 * rounds} restarts in {seconds:.0f} s at {answers / seconds:.0f}/s with {streams} streams: {answers} "
        f"requests, {long_answers} streams, failed or cut: {lost}"
    )
    assert set(load.ends) == {"whole"}, load.ends
    assert set(load.stream_ends) == {"whole"}, load.stream_ends
    assert {row["outcome"]: row["many"] for row in rows} == {"completed": answers + long_answers}
    assert len(ollama.hits) == answers + long_answers


@pytest.mark.promise("O4")
async def test_workers_drain_as_one(
    management: Services, stores: Stores, ollama: FakeOllama, env_path: Path, tmp_path: Path
) -> None:
    """The parent kept the socket open for as long as its workers took to end: callers waited in it for nobody."""
    gate = asyncio.Event()
    ollama.script = Script(gate=gate, gate_after_records=3)
    tenancy = await make_tenancy(management)
    settings = make_settings(stores, ollama.base_url, drain_accept_s=2, drain_timeout_s=20)
    words = ("serve", "--port", "0", "--workers", "2", "--json", "--env-file", str(write_env_file(env_path, settings)))
    async with program(*words, log=tmp_path / "log", TMPDIR=str(tmp_path)) as serving:
        base_url = (await serving.document())["base_url"]
        async with httpx.AsyncClient(
            base_url=base_url, headers=tenancy.bearer, verify=NO_TLS, trust_env=False, timeout=30
        ) as http:
            streams = [asyncio.create_task(http.post("/api/chat", json={**CHAT, "stream": True})) for _ in range(6)]
            await ollama.wait_for(lambda: sum(hit.records_sent == 3 for hit in ollama.hits) == len(streams), 30)
            serving.process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(2):  # both are asked, since a new connection goes to either
                while {await readiness(base_url) for _ in range(20)} != {503}:
                    await asyncio.sleep(0.02)
            async with asyncio.timeout(5):
                while await readiness(base_url) is not None:
                    await asyncio.sleep(0.1)
            assert serving.process.returncode is None
            gate.set()
            answers = await asyncio.gather(*streams)
            assert await asyncio.wait_for(serving.process.wait(), 10) == 0
    assert [(answer.status_code, b'"done":true' in answer.content) for answer in answers] == [(200, True)] * 6
    assert {row["outcome"] for row in await stores.fetch("select outcome from audit_log")} == {"completed"}


async def readiness(base_url: str) -> int | None:
    """The status of /readyz on a connection of its own, 0 where it was closed unanswered, None where nobody listens."""
    try:
        return (await send_raw(base_url, request_bytes("GET", "/readyz"))).status
    except ConnectionRefusedError:
        return None
