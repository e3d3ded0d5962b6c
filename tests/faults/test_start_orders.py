"""A gateway that is started before what it needs waits for it, in whatever order that comes."""

import asyncio
import os
import signal
import time
from itertools import permutations
from pathlib import Path

import httpx
import pytest

from neuronetz_gateway.db.migrating import migrate
from neuronetz_gateway.embedded.postgres import EmbeddedPostgres
from neuronetz_gateway.wiring import build_services
from tests.support.factories import make_tenancy
from tests.support.fake_ollama import FakeOllama
from tests.support.faulty_stores import FaultyStores, faulty_stores
from tests.support.gateways import free_port, make_settings, write_env_file
from tests.support.load import CHAT
from tests.support.no_tls import NO_TLS
from tests.support.programs import Program, program
from tests.support.stores import Stores

READY_SECONDS = 5
SLACK = 3
BETWEEN_SECONDS = 0.3
NEEDED = ("postgres", "redis", "ollama")
EVERY_DAY = (("redis", "ollama", "postgres"), ("postgres", "ollama", "redis"))


@pytest.fixture
async def empty(postgres: EmbeddedPostgres, stores: Stores) -> Stores:
    """A database that was never migrated."""
    name = f"empty_{os.getpid()}_{time.monotonic_ns()}"
    await Stores(postgres.url_of("postgres", role="postgres"), "").execute(f"create database {name} owner gateway")
    return Stores(postgres.url_of(name), stores.redis_url)


async def _status(base_url: str, path: str) -> int | None:
    async with httpx.AsyncClient(base_url=base_url, verify=NO_TLS, trust_env=False, timeout=10) as http:
        try:
            return (await http.get(path)).status_code
        except httpx.TransportError:
            return None


async def _until_ready(serving: Program, base_url: str) -> None:
    async with asyncio.timeout(READY_SECONDS * SLACK):
        while await _status(base_url, "/readyz") != httpx.codes.OK:
            assert serving.process.returncode is None, serving.said
            await asyncio.sleep(0.05)


async def _key(direct: Stores, ollama: FakeOllama) -> str:
    services = build_services(make_settings(direct, ollama.base_url))
    try:
        return (await make_tenancy(services)).key
    finally:
        await services.aclose()


async def _started_before(faulty: FaultyStores, order: tuple[str, ...], ollama: FakeOllama, tmp_path: Path) -> float:
    """How long after the last of them it is ready, having served nothing before; then it serves."""
    settings = make_settings(
        faulty.stores,
        faulty.upstream_url,
        ledger_timeout_s=2,
        database_statement_timeout_s=2,
        database_connect_timeout_s=2,
    )
    env_file, port = write_env_file(tmp_path / "gateway.env", settings), free_port()
    base_url = f"http://127.0.0.1:{port}"
    for proxy in faulty.proxies.values():
        proxy.refuse()
    words = ("serve", "--port", str(port), "--env-file", str(env_file))
    async with program(*words, log=tmp_path / "log") as serving:
        await serving.has_said("Waiting for Postgres. The database cannot be reached")
        for name in order:
            assert await _status(base_url, "/readyz") != httpx.codes.OK
            await asyncio.sleep(BETWEEN_SECONDS)
            faulty.proxies[name].heal()
        began = time.monotonic()
        await _until_ready(serving, base_url)
        ready = time.monotonic() - began
        bearer = {"authorization": f"Bearer {await _key(faulty.direct, ollama)}"}
        async with httpx.AsyncClient(
            base_url=base_url, headers=bearer, verify=NO_TLS, trust_env=False, timeout=10
        ) as http:
            assert (await http.post("/api/chat", json=CHAT)).status_code == httpx.codes.OK
        assert await serving.ended_by(signal.SIGTERM) == 0
        assert "Traceback" not in serving.said
    return ready


@pytest.mark.promise("F5")
@pytest.mark.parametrize(
    "order",
    [pytest.param(order, marks=() if order in EVERY_DAY else pytest.mark.full) for order in permutations(NEEDED)],
)
async def test_a_gateway_started_first_is_ready_soon_after_the_last(
    order: tuple[str, ...], empty: Stores, ollama: FakeOllama, tmp_path: Path
) -> None:
    async with faulty_stores(empty, ollama) as faulty:
        ready = await _started_before(faulty, order, ollama, tmp_path)
    assert len(ollama.hits) == 1
    print(f"F5: gateway, {', '.join(order)}: ready {ready:.2f} s after the last, an empty database migrated")
    assert ready < READY_SECONDS * SLACK


async def test_serve_says_at_once_that_postgres_will_not_have_it(
    postgres: EmbeddedPostgres, stores: Stores, tmp_path: Path
) -> None:
    """Waiting mends no wrong name."""
    wrong = Stores(postgres.url_of("no_such_database"), stores.redis_url)
    env_file = write_env_file(tmp_path / "gateway.env", make_settings(wrong, "http://127.0.0.1:9"))
    async with program("serve", "--port", "0", "--env-file", str(env_file), log=tmp_path / "log") as serving:
        assert await asyncio.wait_for(serving.process.wait(), 30) == 1
        assert serving.said == "error: Postgres refuses DATABASE_URL: InvalidCatalogNameError.\n"


async def test_several_gateways_that_waited_migrate_one_after_another(empty: Stores) -> None:
    await asyncio.gather(*(asyncio.to_thread(migrate, empty.database_url) for _ in range(3)))
    assert await empty.fetch("select 1 from alembic_version")
