"""No byte reaches the model without a verified key, whatever is presented and wherever."""

import asyncio
import random
import string
from datetime import UTC, datetime, timedelta

import pytest

from neuronetz_gateway.domain.budget import Period
from neuronetz_gateway.surfaces.catalog import ENDPOINTS
from neuronetz_gateway.wiring import Services
from tests.support.factories import Tenancy, make_key, make_tenancy
from tests.support.fake_ollama import FakeOllama
from tests.support.fleet import Member
from tests.support.gateways import LiveGateway
from tests.support.raw_http import RawAnswer, request_bytes, send_raw
from tests.support.stores import Stores

CHAT = {"model": "fakea", "messages": [{"role": "user", "content": "Hello"}], "stream": False}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def spellings(path: str) -> list[str]:
    return [
        path, path + "/", path.upper(), path.replace("/", "//", 1), "/." + path, path + "?x=1", path + "%00",
        path.replace("a", "%61", 1), "/" + path[1:].replace("/", "%2f"), path + ";x", "/v1/../" + path.lstrip("/"),
    ]  # fmt: skip


@pytest.mark.promise("A1")
async def test_without_a_key_nothing_is_served_anywhere(gateway: LiveGateway, ollama: FakeOllama) -> None:
    seen: dict[int, int] = {}
    for endpoint in ENDPOINTS:
        for method in METHODS:
            targets = spellings(endpoint.path.replace("{model}", "fakea"))
            answers = await asyncio.gather(
                *(send_raw(gateway.base_url, request_bytes(method, target, body=b"{}")) for target in targets)
            )
            for target, answer in zip(targets, answers, strict=True):
                assert answer.status in {401, 403, 404}, (method, target, answer)
                seen[answer.status] = seen.get(answer.status, 0) + 1
    assert seen[401] >= len(ENDPOINTS)  # each row of the table, by its own method, asks for a key
    assert not ollama.requests


@pytest.mark.promise("A3")
async def test_every_bad_key_gets_the_same_answer(gateway: LiveGateway, ollama: FakeOllama, stores: Stores) -> None:
    tenancy = await make_tenancy(gateway.services)
    revoked = await make_key(gateway.services, tenancy.tenant)
    await gateway.services.api_keys.revoke(revoked.api_key.prefix, actor="test", reason="a test")
    expired = await make_key(gateway.services, tenancy.tenant, expires_at=datetime.now(UTC) - timedelta(seconds=1))
    bad = {
        "missing": None,
        "malformed": "hello",
        "unknown": "nz_" + "A" * 41,
        "wrong secret": tenancy.key[:-1] + ("a" if tenancy.key[-1] != "a" else "b"),
        "revoked": revoked.key,
        "expired": expired.key,
    }
    answers = {}
    for name, key in bad.items():
        request = request_bytes("POST", "/api/chat", key=key, body=b'{"model":"fakea","messages":[{"content":"x"}]}')
        answers[name] = await send_raw(gateway.base_url, request)
    shapes = {name: _without_request_id(answer) for name, answer in answers.items()}
    assert len(set(shapes.values())) == 1, shapes
    assert answers["missing"].status == 401
    for name, key in bad.items():
        if key is not None:
            assert key.encode() not in answers[name].head + answers[name].body
    assert not ollama.requests
    assert not await stores.fetch("select 1 from reservations")


def _without_request_id(answer: RawAnswer) -> bytes:
    head = b"\r\n".join(
        line for line in answer.head.split(b"\r\n") if not line.lower().startswith((b"x-request-id:", b"date:"))
    )
    return head + answer.body


@pytest.mark.promise("A10")
async def test_no_mutant_of_a_cached_key_is_accepted(gateway: LiveGateway, ollama: FakeOllama) -> None:
    """Some gateways cache by prefix, or compare a shortened hash: then a neighbour of a good key gets in."""
    tenancy = await make_tenancy(gateway.services)
    async with gateway.http(tenancy.key) as http:
        assert (await http.post("/api/chat", json=CHAT)).status_code == 200
    hits = len(ollama.requests)
    chosen = random.Random(7)
    mutants: set[str] = set()
    while len(mutants) < 400:
        place, letter = chosen.randrange(len(tenancy.key)), chosen.choice(string.ascii_letters + string.digits + "_")
        mutants.add(tenancy.key[:place] + letter + tenancy.key[place + 1 :])
    mutants.discard(tenancy.key)
    statuses: list[int] = []

    async def present(share: list[str]) -> None:
        async with gateway.http() as http:
            for mutant in share:
                answer = await http.post("/api/chat", json=CHAT, headers={"authorization": f"Bearer {mutant}"})
                statuses.append(answer.status_code)

    listed = sorted(mutants)
    await asyncio.gather(*(present(listed[start::20]) for start in range(20)))
    assert set(statuses) <= {401, 429}
    assert len(ollama.requests) == hits
    async with gateway.http(tenancy.key) as http:  # the good key behind the same, now blocked, address goes on working
        assert (await http.post("/api/chat", json=CHAT)).status_code == 200


ONE_TOKEN_IN_TOTAL = """insert into budgets (tenant_id, scope_id, scope, period, limit_tokens)
    select id, id, 'tenant', 'total', 1 from tenants where name = $1"""
CHANGES = {
    "revoke": 401,
    "suspend": 403,
    "revoke by sql": 401,
    "suspend by sql": 403,
    "lower rpm by sql": 429,
    "take the model away by sql": 403,
    "lower the budget": 429,
    "lower the budget by sql": 429,
}


@pytest.mark.promise("A4")
@pytest.mark.timeout(240)
async def test_a_change_holds_from_the_next_request_on_every_process(
    two_gateways: tuple[Member, Member], management: Services, stores: Stores, ollama: FakeOllama
) -> None:
    for flushed in (False, True):
        for change, status in CHANGES.items():
            tenancy = await make_tenancy(management)
            await _expect(two_gateways, tenancy, 200, "before")
            hits = len(ollama.hits)
            await _apply(change, management, stores, tenancy.tenant.name, tenancy.api_key.prefix)
            if flushed:
                await management.redis.call("FLUSHALL")
            await _expect(two_gateways, tenancy, status, f"{change}, flushed: {flushed}")
            assert len(ollama.hits) == hits, change


async def _expect(gateways: tuple[Member, ...], tenancy: Tenancy, status: int, when: str) -> None:
    for gateway in gateways:
        async with gateway.http(tenancy.key) as http:
            answer = await http.post("/api/chat", json=CHAT)
            assert answer.status_code == status, (when, answer.text)


async def _apply(change: str, services: Services, stores: Stores, tenant: str, prefix: str) -> None:
    statements = {
        "revoke by sql": ("update api_keys set revoked_at = now() where prefix = $1", prefix),
        "suspend by sql": ("update tenants set status = 'suspended' where name = $1", tenant),
        "lower rpm by sql": ("update tenants set rpm = 0 where name = $1", tenant),
        "take the model away by sql": ("update tenants set allow_all_models = false where name = $1", tenant),
        "lower the budget by sql": (ONE_TOKEN_IN_TOTAL, tenant),
    }
    if change in statements:
        await stores.execute(*statements[change])
    elif change == "revoke":
        await services.api_keys.revoke(prefix, actor="test", reason="a test")
    elif change == "suspend":
        await services.tenants.suspend(tenant, actor="test", reason="a test")
    else:
        await services.budgets.set_for_tenant(tenant, {Period.DAILY: 1})


@pytest.mark.promise("A3")
async def test_a_key_that_expires_is_refused_from_then_on(gateway: LiveGateway, ollama: FakeOllama) -> None:
    end = datetime.now(UTC) + timedelta(seconds=1.5)
    tenancy = await make_tenancy(gateway.services, expires_at=end)
    async with gateway.http(tenancy.key) as http:
        assert (await http.post("/api/chat", json=CHAT)).status_code == 200
        await asyncio.sleep((end - datetime.now(UTC)).total_seconds() + 0.01)
        assert (await http.post("/api/chat", json=CHAT)).status_code == 401
    assert len(ollama.hits) == 1
