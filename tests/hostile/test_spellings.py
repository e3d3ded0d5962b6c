"""Every route of the model server outside of the table, five hundred spellings each, goes nowhere."""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from neuronetz_gateway.surfaces.catalog import ENDPOINTS
from tests.gateway.test_closed_routes import DANGEROUS, spelled
from tests.support.factories import make_tenancy
from tests.support.fake_ollama import FakeOllama
from tests.support.fake_ollama_paths import ROUTES
from tests.support.gateways import LiveGateway, live_gateway
from tests.support.raw_http import request_bytes, send_raw
from tests.support.stores import Stores

AT_ONCE = 50
METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE")
REFUSED = {400, 403, 404, 501}
SERVED = {(endpoint.method, endpoint.path) for endpoint in ENDPOINTS}
FILLED = {":digest": "sha256:00", ":encodedKey": "a2V5", ":model": "fakea"}
NEWER = (  # OLLAMA §1.3
    "/api/codex/_status", "/api/codex/responses", "/api/usage", "/api/balance", "/debug/pprof/", "/debug/vars",
)  # fmt: skip


def filled(path: str) -> str:
    for name, value in FILLED.items():
        path = path.replace(name, value)
    return path


OPEN = {filled(path.replace("{model}", ":model")) for _, path in SERVED} | {"/"}  # "/" is a page of the gateway's own
OUTSIDE = sorted({filled(route.path) for route in ROUTES} - OPEN | set(NEWER))


@pytest.fixture
async def gateway(stores: Stores, ollama: FakeOllama) -> AsyncIterator[LiveGateway]:
    async with live_gateway(stores, ollama.base_url) as live:
        yield live


@pytest.mark.promise("N2")
@pytest.mark.parametrize("spellings", [20, pytest.param(500, marks=[pytest.mark.full, pytest.mark.timeout(900)])])
async def test_no_spelling_of_a_route_outside_the_table_reaches_the_model_server(
    gateway: LiveGateway, ollama: FakeOllama, spellings: int
) -> None:
    key = (await make_tenancy(gateway.services)).key
    chosen = random.Random(500)
    statuses: Counter[int] = Counter()
    literal: Counter[int] = Counter()
    for path in OUTSIDE:
        targets = [path, *(spelled(path, chosen) for _ in range(spellings - 1))]
        sent = [(target, chosen.choice(METHODS)) for target in targets]
        sent += [(path, method) for method in METHODS]
        for batch in itertools.batched(sent, AT_ONCE):
            answers = await asyncio.gather(
                *(send_raw(gateway.base_url, request_bytes(how, to, key=key, body=b"{}")) for to, how in batch)
            )
            for (target, method), found in zip(batch, answers, strict=True):
                assert found.status in REFUSED, (method, target, found)
                statuses[found.status] += 1
                if target == path in DANGEROUS:
                    literal[found.status] += 1
    print(f"N2: {len(OUTSIDE)} routes x {spellings} spellings, 8 methods: {dict(sorted(statuses.items()))}, 0 upstream")
    assert literal.keys() == {403}
    assert not ollama.requests


@pytest.mark.promise("N2")
async def test_no_method_nor_spelling_reaches_more_than_the_table_says(
    gateway: LiveGateway, ollama: FakeOllama
) -> None:
    """On the paths of the table: another method goes nowhere."""
    key = (await make_tenancy(gateway.services)).key
    for path in sorted(OPEN - {"/"}):
        taken = {method for method, served in SERVED if filled(served.replace("{model}", ":model")) == path}
        for method in set(METHODS) - taken:
            found = await send_raw(gateway.base_url, request_bytes(method, path, key=key, body=b"{}"))
            assert found.status in REFUSED, (method, path, found)
    assert not ollama.requests
