"""What gateways sign of their audit log while they serve, when they end."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from neuronetz_gateway.services.checkpoint_sinks import read_lines
from neuronetz_gateway.wiring import build_services
from tests.support.factories import make_tenancy
from tests.support.fake_ollama import FakeOllama
from tests.support.gateways import gateway_process, live_gateway, make_settings, write_env_file
from tests.support.ledgers import until
from tests.support.load import CHAT
from tests.support.stores import Stores


@pytest.mark.promise("D3")
async def test_a_gateway_signs_what_it_writes_and_everything_when_it_ends(
    stores: Stores, ollama: FakeOllama, tmp_path: Path
) -> None:
    file = tmp_path / "checkpoints.jsonl"

    async def some() -> bool:
        return file.exists() and len(list(read_lines(file))) >= 2

    changes: dict[str, Any] = {"audit_checkpoint_s": 0.1, "audit_checkpoint_sink": str(file)}
    async with live_gateway(stores, ollama.base_url, upkeep=True, **changes) as gateway:
        tenancy = await make_tenancy(gateway.services)
        async with gateway.http(tenancy.key) as http:

            async def served() -> bool:
                assert (await http.post("/api/chat", json=CHAT)).status_code == httpx.codes.OK
                return await some()

            await until(served)
            await http.post("/api/chat", json=CHAT)
    services = build_services(make_settings(stores, ollama.base_url))
    report = await services.chains.verifier.verify(checkpoints=file)
    await services.aclose()
    assert (report.findings, report.unsigned_rows) == ([], 0)
    assert report.rows >= 2
    assert report.checkpoints == len(list(read_lines(file)))


async def test_the_processes_of_one_machine_write_each_checkpoint_once_into_the_file(
    stores: Stores, ollama: FakeOllama, tmp_path: Path
) -> None:
    """Two workers that are started together, on one file, with 100 ms between two checkpoints."""
    file = tmp_path / "checkpoints.jsonl"
    settings = make_settings(
        stores, ollama.base_url, audit_checkpoint_s=0.1, audit_checkpoint_sink=str(file), drain_accept_s=0
    )
    env_file = write_env_file(tmp_path / "gateway.env", settings)
    services = build_services(settings)
    tenancy = await make_tenancy(services)
    async with gateway_process(env_file, "--workers", "2") as gateway, gateway.http(tenancy.key) as http:

        async def served() -> bool:
            assert (await http.post("/api/chat", json=CHAT)).status_code == httpx.codes.OK
            return file.exists() and len(list(read_lines(file))) >= 3

        await until(served)
    numbers = [json.loads(line)["number"] for line in file.read_text().splitlines()]
    assert numbers == list(range(1, len(numbers) + 1))
    report = await services.chains.verifier.verify(checkpoints=file)
    await services.aclose()
    assert (report.findings, report.unsigned_rows, report.checkpoints) == ([], 0, len(numbers))
