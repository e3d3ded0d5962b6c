"""Whatever becomes of a request, on whatever endpoint: it is written down once, charged once, never free once run."""

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Sequence, Set
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from neuronetz_gateway.surfaces.surface import Endpoint
from neuronetz_gateway.wiring import Services
from tests.gateway.test_budgeting import settled
from tests.support.answers import Answers
from tests.support.factories import Tenancy, make_tenancy
from tests.support.fake_ollama import Ended, FakeOllama, Script, Seen
from tests.support.gateways import (
    GatewayProcess,
    LiveGateway,
    gateway_process,
    live_gateway,
    make_settings,
    write_env_file,
)
from tests.support.mixed_load import FORBIDDEN, UNKNOWN, Told, hits_by_number, install, mixed_load
from tests.support.stores import Stores
from tests.support.valid_bodies import GENERATING, INFERRING, STREAMING, asking, name_of, saying

SEED = 20261123
NEVER_UP = {"refused", "not_forwarded"}
WITHOUT_FIGURES = {"no-usage:latest", "zero-usage:latest"}
HAS_OUTPUT = {endpoint.path for endpoint in GENERATING}


@pytest.fixture
async def mixed_gateway(stores: Stores, ollama: FakeOllama) -> AsyncIterator[LiveGateway]:
    async with live_gateway(stores, ollama.base_url, model_facts_refresh_s=0) as live:
        yield live


@pytest.fixture
async def two_quiet_gateways(
    stores: Stores, ollama: FakeOllama, tmp_path: Path
) -> AsyncIterator[Sequence[GatewayProcess]]:
    settings = make_settings(stores, ollama.base_url, model_facts_refresh_s=0)
    env_file = write_env_file(tmp_path / "gateway.env", settings)
    async with gateway_process(env_file) as one, gateway_process(env_file) as other:
        yield one, other


def check_row(row: dict[str, Any], hits: list[Seen]) -> None:
    """What one row says against what the model server saw of that request."""
    outcome, charged, model = row["outcome"], row["charged_tokens"], row["model"]
    case = f"{row}\n{[seen.as_json() for seen in hits]}"
    assert charged == row["prompt_tokens"] + row["output_tokens"], case
    assert len(hits) == (outcome not in NEVER_UP), case
    if not hits:
        assert charged == 0, case
        return
    [seen] = hits
    assert model == seen.model != f"{FORBIDDEN}:latest", case
    if outcome == "upstream_refused":
        assert charged == 0, case
        assert seen.status != 200 or seen.ended is not Ended.COMPLETED, case
        return
    assert charged > 0, case
    assert row["prompt_tokens"] >= seen.prompt_tokens, case
    if outcome not in {"completed", "cut"}:  # what is cut may have come in one piece with its figures
        assert row["estimated"], case
    elif row["estimated"]:
        assert outcome == "cut" or model in WITHOUT_FIGURES or row["endpoint"] == "/api/embeddings", case
    else:
        generated = seen.tokens_generated if row["endpoint"] in HAS_OUTPUT else 0
        assert row["prompt_tokens"] == seen.prompt_tokens, case
        assert row["output_tokens"] == (generated if model != "less-usage:latest" else row["output_tokens"]), case


async def rows_of(stores: Stores, tenancy: Tenancy, answered: Set[str]) -> list[dict[str, Any]]:
    """The rows of a tenant, once there is one for every answer: refusals are written in batches."""
    async with asyncio.timeout(10):
        while True:
            rows = await stores.fetch("select * from audit_log where tenant_id = $1", tenancy.tenant.id)
            if answered <= {row["request_id"] for row in rows}:
                return rows
            await asyncio.sleep(0.1)


async def check_all(stores: Stores, ollama: FakeOllama, tenancy: Tenancy, told: Told) -> Counter[str]:
    """Returns how often each outcome was."""
    await ollama.wait_idle(30)
    used = await settled(stores, tenancy)
    rows = await rows_of(stores, tenancy, {f"n-{number}" for number in told.statuses})
    assert used == sum(row["charged_tokens"] for row in rows)
    totals = await stores.fetch("select used, reserved from budget_usage")
    assert {(total["used"], total["reserved"]) for total in totals} == {(used, 0)}, "a day, a month or a key differs"
    assert await stores.fetch("select 1 from reservations") == []
    assert len({row["id"] for row in rows}) == len(rows)
    by_number = Counter(row["request_id"] for row in rows)
    assert set(by_number.values()) == {1}
    hits = hits_by_number(ollama)
    for row in rows:
        number = int(row["request_id"].removeprefix("n-"))
        if row["endpoint"] in {seen.route for each in hits.values() for seen in each}:
            check_row(row, hits.pop(number, []))
    assert not hits, "without a row"
    went_up = [row for row in rows if row["outcome"] not in NEVER_UP]
    assert len(went_up) == len(ollama.requests)
    return Counter(row["outcome"] for row in rows)


@pytest.mark.promise("B2", "B7", "D1")
async def test_used_is_the_sum_of_800_mixed_outcomes(
    mixed_gateway: LiveGateway, stores: Stores, ollama: FakeOllama
) -> None:
    print(f"seed {SEED}")
    models = install(ollama)
    tenancy = await make_tenancy(mixed_gateway.services, models=models)
    told = await mixed_load([mixed_gateway], tenancy.key, 800, seed=SEED)
    outcomes = await check_all(stores, ollama, tenancy, told)
    print(outcomes)
    expected = {"completed", "caller_left", "upstream_refused", "upstream_broken", "cut", "refused"}
    assert outcomes.keys() >= expected, outcomes
    assert mixed_gateway.services.limiter.open_admissions == 0
    assert UNKNOWN in {model.partition(":")[0] for model in models}


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.promise("B2", "B7", "D1")
async def test_used_is_the_sum_of_20000_mixed_outcomes_over_two_processes(
    two_quiet_gateways: Sequence[GatewayProcess], management: Services, stores: Stores, ollama: FakeOllama
) -> None:
    tenancy = await make_tenancy(management, models=install(ollama))
    told = await mixed_load(two_quiet_gateways, tenancy.key, 20_000, seed=SEED, lanes=32)
    await check_all(stores, ollama, tenancy, told)


@pytest.mark.promise("B7")
async def test_no_answer_without_figures_or_end_is_free_on_any_endpoint(
    mixed_gateway: LiveGateway, stores: Stores, ollama: FakeOllama
) -> None:
    tenancy = await make_tenancy(mixed_gateway.services)
    install(ollama)
    fates = ("no-usage", "zero-usage", "ends", "dies", "resets", "closes", "garbles")
    asked: dict[str, tuple[Endpoint, str, bool]] = {}
    async with mixed_gateway.http(tenancy.key) as http:
        for endpoint, fate, stream in itertools.product(INFERRING, fates, (True, False)):
            name = f"n-{len(asked)}"
            asked[name] = endpoint, fate, stream
            body = saying(endpoint, f"#{len(asked)}#", model=fate, stream=stream)
            with contextlib.suppress(httpx.TransportError):  # what breaks off never ends cleanly
                await http.post(endpoint.path, json=body, headers={"x-request-id": name})
    used = await settled(stores, tenancy)
    rows = await rows_of(stores, tenancy, asked.keys())
    assert used == sum(row["charged_tokens"] for row in rows)
    assert len(rows) == len(asked) == len(ollama.hits)
    for row in rows:
        endpoint, fate, stream = case = asked[row["request_id"]]
        # The runner of an answer in one piece dies before there is any: Ollama then says 500 (OLLAMA §3.4).
        if row["outcome"] == "upstream_refused":
            assert (fate, row["charged_tokens"]) == ("dies", 0), (case, row)
            assert not (stream and endpoint in STREAMING), (case, row)
            continue
        unharmed = endpoint not in GENERATING and row["outcome"] == "completed" and not row["estimated"]
        assert row["estimated"] or unharmed, (case, row)
        assert row["prompt_tokens"] > 0, (case, row)
        whole = fate in {"no-usage", "zero-usage"}
        assert row["output_tokens"] > 0 or not (whole and endpoint in GENERATING), (case, row)


def _has_sent(seen: Seen, records: int) -> bool:
    return seen.records_sent == records


@pytest.mark.promise("B7", "S1")
@pytest.mark.parametrize("stream", [True, False])
async def test_whoever_leaves_is_charged_on_every_endpoint(
    mixed_gateway: LiveGateway, stores: Stores, ollama: FakeOllama, stream: bool
) -> None:
    tenancy = await make_tenancy(mixed_gateway.services)
    async with mixed_gateway.http(tenancy.key) as http:
        for number, endpoint in enumerate(INFERRING):
            records = len(Answers(endpoint).beginning((" a", " b"))) if stream and endpoint in STREAMING else 0
            ollama.next(Script(tokens=9, gate=asyncio.Event(), gate_after_records=records))
            body = asking(endpoint, 9, stream=stream)
            leaving = asyncio.create_task(http.post(endpoint.path, json=body, headers={"x-request-id": f"n-{number}"}))
            await ollama.wait_for(lambda: ollama.in_flight == 1)
            seen = ollama.hits[-1]
            await ollama.wait_for(partial(_has_sent, seen, records))
            leaving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await leaving
            await ollama.wait_idle()
            assert seen.ended is Ended.CALLER_LEFT, name_of(endpoint)
    used = await settled(stores, tenancy)
    rows = await rows_of(stores, tenancy, {f"n-{number}" for number in range(len(INFERRING))})
    assert used == sum(row["charged_tokens"] for row in rows)
    for row in rows:
        endpoint = INFERRING[int(row["request_id"].removeprefix("n-"))]
        assert (row["outcome"], row["estimated"]) == ("caller_left", True), row
        assert row["prompt_tokens"] > 0, row
        assert row["output_tokens"] == (2 if stream and endpoint in STREAMING else 0), row
