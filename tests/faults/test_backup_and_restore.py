"""The drill of docs/OPERATIONS.md, word for word: a dump of a database that serves, restored, is worth what it was."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from neuronetz_gateway.domain.budget import Period
from neuronetz_gateway.domain.limit import Limits
from neuronetz_gateway.embedded.postgres import EmbeddedPostgres
from neuronetz_gateway.embedded.valkey import EmbeddedValkey
from neuronetz_gateway.wiring import Services, build_services
from tests.support.documents import commands_under
from tests.support.factories import Tenancy, make_key, make_tenancy
from tests.support.fake_ollama import FakeOllama, Script
from tests.support.gateways import LiveGateway, live_gateway, make_settings, write_env_file
from tests.support.ledgers import until
from tests.support.load import CHAT, statuses_of
from tests.support.pasting import paste, postgres_variables
from tests.support.stores import Stores

PAGE = "docs/OPERATIONS.md"
(DUMP,), (FILL, FORGET, LOOK) = commands_under(PAGE, "Backup"), commands_under(PAGE, "Restore")

RPM, DAILY_TOKENS, SERVED = 100, 1_000_000, 7
QUICK: dict[str, Any] = {"heartbeat_s": 0.2, "lease_s": 1, "recovery_after_s": 1}
USAGE = "select scope_id, period, window_start, used, reserved from budget_usage where tenant_id = $1 order by 1, 2, 3"
ROWS = "select * from audit_log where tenant_id = $1 order by id"
HELD = "select id, reserved from reservations where tenant_id = $1"
HEADS = "select writer, day, sequence, hash from audit_heads"
ROW_OF_HEAD = "select hash from audit_log where (writer, recorded_on, sequence) = ($1, $2, $3)"
ENDED = "select outcome, charged_tokens, reserved_tokens from audit_log where id = $1"


@pytest.fixture
def source(
    postgres: EmbeddedPostgres, template_database: str, as_superuser: Callable[[str], None], valkey: EmbeddedValkey
) -> Iterator[Stores]:
    """The database of the documents, by its name."""
    as_superuser("DROP DATABASE IF EXISTS gateway WITH (FORCE)")
    as_superuser(f"CREATE DATABASE gateway TEMPLATE {template_database} OWNER gateway")
    yield Stores(postgres.url_of("gateway"), valkey.url)
    as_superuser("DROP DATABASE gateway WITH (FORCE)")


@pytest.fixture
def fresh(store_folder: Path, valkey: EmbeddedValkey) -> Iterator[Stores]:
    """Where it is restored: another server, with the same Redis."""
    server = EmbeddedPostgres(store_folder / "fresh", durable=False)
    server.start()
    yield Stores(server.url_of("gateway_restored"), valkey.url)
    server.stop()


@asynccontextmanager
async def managing(stores: Stores, ollama: FakeOllama) -> AsyncIterator[Services]:
    services = build_services(make_settings(stores, ollama.base_url))
    yield services
    await services.aclose()


@asynccontextmanager
async def an_open_answer(gateway: LiveGateway, ollama: FakeOllama, tenancy: Tenancy) -> AsyncIterator[None]:
    """A stream of which the first record has come, the others never do."""
    ollama.next(Script(tokens=100_000, gate=asyncio.Event(), gate_after_records=1))
    async with (
        gateway.http(tenancy.key) as http,
        http.stream("POST", "/api/chat", json={**CHAT, "stream": True}) as answer,
    ):
        lines = answer.aiter_lines()  # held: with it the answer would be closed
        await anext(lines)
        yield


@pytest.mark.promise("B2", "B6", "D1")
async def test_a_restored_database_has_the_same_usage_the_same_chain_and_charges_what_was_open_once(
    source: Stores, fresh: Stores, ollama: FakeOllama, tmp_path: Path
) -> None:
    async with managing(source, ollama) as management, live_gateway(source, ollama.base_url) as gateway:
        tenancy = await make_tenancy(
            management, tenant_limits=Limits(rpm=RPM), budget={Period.DAILY: DAILY_TOKENS, Period.TOTAL: None}
        )
        lost = await make_key(management, tenancy.tenant)
        busy = await make_tenancy(management)
        assert await statuses_of([gateway], tenancy.key, SERVED) == {200: SERVED}
        assert await statuses_of([gateway], tenancy.key, 2, body={**CHAT, "model": "no/such/model/at:all"}) == {400: 2}
        async with an_open_answer(gateway, ollama, tenancy):
            await until(lambda: _written(source, tenancy, SERVED + 2))
            load = asyncio.create_task(statuses_of([gateway], busy.key, 200, at_once=8))
            dumped = {**postgres_variables(source.database_url), "PWD": str(tmp_path)}
            await asyncio.to_thread(paste, DUMP, dumped)
            assert set(await load) == {200}
            before = {query: await source.fetch(query, tenancy.tenant.id) for query in (USAGE, ROWS, HELD)}
            await management.api_keys.revoke(lost.api_key.prefix, actor="test", reason="after the dump")
    (held,) = before[HELD]

    variables = {**postgres_variables(fresh.database_url), "PWD": str(tmp_path), "REDIS_URL": fresh.redis_url}
    env_file = write_env_file(tmp_path / "gateway.env", make_settings(fresh, ollama.base_url))
    await asyncio.to_thread(paste, [*FILL, *FORGET, *LOOK], variables, env_file)

    for query, rows in before.items():
        assert await fresh.fetch(query, tenancy.tenant.id) == rows
    assert await _heads_are_rows_of(source, fresh) > 0

    async with live_gateway(fresh, ollama.base_url, **QUICK) as gateway:
        async with gateway.http(tenancy.key) as http:
            answer = await http.post("/api/chat", json=CHAT)
            assert answer.status_code == httpx.codes.OK
            # what Redis lost is given back: those of the dump, the open one, this one
            assert answer.headers["x-ratelimit-remaining-requests"] == str(RPM - SERVED - 2)
        assert await statuses_of([gateway], lost.key, 1) == {200: 1}, "a restore takes a revocation back, as it is said"
        await until(lambda: _ended(fresh, held["id"]))
        metrics = gateway.services.metrics.exposition().decode()
    assert 'neuronetz_events_total{event="rates_rebuilt"} 1.0' in metrics
    assert await fresh.fetch(ENDED, held["id"]) == [
        {"outcome": "abandoned", "charged_tokens": held["reserved"], "reserved_tokens": held["reserved"]}
    ]
    assert await fresh.fetch("select 1 from reservations") == []
    await asyncio.to_thread(paste, LOOK, variables, env_file)


async def _written(stores: Stores, tenancy: Tenancy, count: int) -> bool:
    return bool(sum(row["occurrences"] for row in await stores.fetch(ROWS, tenancy.tenant.id)) == count)


async def _ended(stores: Stores, reservation_id: object) -> bool:
    return bool(await stores.fetch(ENDED, reservation_id))


async def _heads_are_rows_of(source: Stores, restored: Stores) -> int:
    """How many chains end in the restored database with a row that the source has, hash and all."""
    heads = await restored.fetch(HEADS)
    for head in heads:
        rows = await source.fetch(ROW_OF_HEAD, head["writer"], head["day"], head["sequence"])
        assert rows == [{"hash": head["hash"]}]
    return len(heads)
