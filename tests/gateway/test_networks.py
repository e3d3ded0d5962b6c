"""A key is good from its networks alone, whoever holds it, on every surface, from the next request on."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from neuronetz_gateway.domain.limit import Limits
from neuronetz_gateway.surfaces.catalog import ENDPOINTS
from neuronetz_gateway.wiring import Services
from tests.support.factories import Tenancy, make_key, make_tenancy
from tests.support.fake_ollama import FakeOllama
from tests.support.fleet import Member
from tests.support.gateways import LiveGateway, live_gateway
from tests.support.stores import Stores

CHAT: dict[str, Any] = {"model": "fakea", "messages": [{"role": "user", "content": "x"}], "stream": False}
HOME, AWAY = "203.0.113.9", "198.51.100.7"
NETWORKS = ("203.0.113.0/24", "2001:db8::/32")


@pytest.fixture
async def behind_proxy(stores: Stores, ollama: FakeOllama) -> AsyncIterator[LiveGateway]:
    """A gateway whose every caller comes by a proxy that it trusts."""
    async with live_gateway(stores, ollama.base_url, trusted_proxies="127.0.0.0/8") as live:
        yield live


async def near(services: Services, networks: tuple[str, ...] | None = NETWORKS) -> Tenancy:
    tenancy = await make_tenancy(services)
    await services.api_keys.set_networks(tenancy.api_key.prefix, networks)
    return tenancy


async def status_from(http: httpx.AsyncClient, address: str, path: str = "/api/chat") -> int:
    answer = await http.post(path, json=CHAT, headers={"x-forwarded-for": address})
    return answer.status_code


@pytest.mark.parametrize(
    ("address", "status"),
    [
        (HOME, 200), ("203.0.113.0", 200), ("203.0.113.255", 200), ("203.0.114.0", 403), (AWAY, 403),
        ("::ffff:203.0.113.9", 200), ("::ffff:198.51.100.7", 403), ("::FFFF:CB00:7109", 200),
        ("2001:db8::1", 200), ("2001:DB8:ffff::", 200), ("2001:db9::1", 403), ("::1", 403),
        (f"{HOME}, {AWAY}", 403),  # what a caller says of himself stands before what the proxy saw
        (f"{AWAY}, {HOME}", 200), (f"{HOME}, 127.0.0.2", 200), (f"{AWAY}, 127.0.0.2", 403),
        ("", 403), ("nonsense", 403), (f"{HOME}, nonsense", 403), ("203.0.113.9:80", 403),
    ],
)  # fmt: skip
async def test_the_address_that_the_proxy_saw_decides(
    behind_proxy: LiveGateway, ollama: FakeOllama, address: str, status: int
) -> None:
    tenancy = await near(behind_proxy.services)
    async with behind_proxy.http(tenancy.key) as http:
        assert await status_from(http, address) == status
    assert len(ollama.hits) == (status == 200)


async def test_what_a_caller_says_of_itself_opens_nothing(gateway: LiveGateway, ollama: FakeOllama) -> None:
    tenancy = await near(gateway.services)
    said = dict.fromkeys(("x-forwarded-for", "x-real-ip", "forwarded", "x-client-ip", "true-client-ip"), HOME)
    async with gateway.http(tenancy.key) as http:
        assert (await http.post("/api/chat", json=CHAT, headers=said)).status_code == 403
        await gateway.services.api_keys.set_networks(tenancy.api_key.prefix, ("127.0.0.1/32",))
        await until(http, 200)
    assert len(ollama.hits) == 1


async def until(http: httpx.AsyncClient, status: int) -> float:
    """How many seconds it took; a refusal is looked at anew once a second at the most."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.timeout(3):
        while (await http.post("/api/chat", json=CHAT)).status_code != status:
            await asyncio.sleep(0.05)
    return loop.time() - began


async def test_every_route_refuses_in_the_words_of_its_surface(behind_proxy: LiveGateway, ollama: FakeOllama) -> None:
    tenancy = await near(behind_proxy.services)
    said = f"This key may not be used from {AWAY}. Its operator says from which networks it may."
    async with behind_proxy.http(tenancy.key) as http:
        http.headers["x-forwarded-for"] = AWAY
        rows = [(endpoint.method, endpoint.path.replace("{model}", "fakea")) for endpoint in ENDPOINTS]
        for method, path in [*rows, ("GET", "/account")]:
            answer = await http.request(method, path, json=CHAT if method == "POST" else None)
            assert answer.status_code == 403, (method, path)
            if method == "HEAD":
                continue
            error = answer.json()["error"]
            if path.startswith("/v1/messages"):
                assert (error["type"], error["message"]) == ("permission_error", said)
                assert error["details"]["error_code"] == "address_not_allowed"
            elif path.startswith("/v1/"):
                assert (error["type"], error["code"]) == ("permission_error", "address_not_allowed")
                assert error["message"] == said
            else:
                assert error == said
            assert NETWORKS[0] not in answer.text
    assert not ollama.requests


async def test_a_refusal_by_address_is_audited_and_uses_up_nothing_of_the_keys(
    behind_proxy: LiveGateway, stores: Stores
) -> None:
    """Who has stolen a key can neither use it from elsewhere nor use up the limits of its owner."""
    tenancy = await make_tenancy(behind_proxy.services, key_limits=Limits(rpm=1, concurrent=1))
    await behind_proxy.services.api_keys.set_networks(tenancy.api_key.prefix, NETWORKS)
    async with behind_proxy.http(tenancy.key) as http:
        assert {await status_from(http, AWAY) for _ in range(5)} == {403}
        assert await status_from(http, HOME) == 200
    refused = "select reason, address from audit_log where status = 403 and tenant_id = $1"
    async with asyncio.timeout(10):
        while not (rows := await stores.fetch(refused, tenancy.tenant.id)):
            await asyncio.sleep(0.02)
    assert {(row["reason"], row["address"]) for row in rows} == {("address_not_allowed", AWAY)}


@pytest.mark.promise("A3")
async def test_a_dead_key_is_told_nothing_else_from_elsewhere(
    behind_proxy: LiveGateway, stores: Stores, ollama: FakeOllama
) -> None:
    """An expired key was told from where it might have been used, where every dead key gets one answer: its address
    was looked at before its end, which the limiter decides."""
    tenancy = await near(behind_proxy.services)
    dead = await make_key(behind_proxy.services, tenancy.tenant, expires_at=datetime.now(UTC) - timedelta(seconds=1))
    await behind_proxy.services.api_keys.set_networks(dead.api_key.prefix, NETWORKS)
    async with behind_proxy.http(dead.key) as http:
        for address in (HOME, AWAY, HOME, AWAY):
            assert await status_from(http, address) == 401
    async with behind_proxy.http(tenancy.key) as http:
        assert await status_from(http, HOME) == 200
        await stores.execute("update api_keys set expires_at = now() - interval '1 minute'")
        assert await status_from(http, HOME) == 401
        assert await status_from(http, AWAY) == 401
    assert len(ollama.hits) == 1


@pytest.mark.promise("A4")
@pytest.mark.parametrize("way", ["service", "sql"])
async def test_networks_hold_from_the_next_request_where_they_are_narrowed(
    behind_proxy: LiveGateway, stores: Stores, ollama: FakeOllama, way: str
) -> None:
    tenancy = await near(behind_proxy.services, None)
    prefix = tenancy.api_key.prefix
    async with behind_proxy.http(tenancy.key) as http:
        for networks, from_home in ((NETWORKS, 200), (("192.0.2.0/24",), 403), ((), 403)):
            assert await status_from(http, HOME) in {200, 403}
            if way == "sql":
                await stores.execute("update api_keys set allowed_networks = $1 where prefix = $2", networks, prefix)
            else:
                await behind_proxy.services.api_keys.set_networks(prefix, networks)
            hits = len(ollama.hits)
            for path in ("/api/chat", "/v1/chat/completions"):
                assert await status_from(http, AWAY, path) == 403
                assert await status_from(http, HOME, path) == from_home
            assert (await http.get("/account", headers={"x-forwarded-for": AWAY})).status_code == 403
            assert len(ollama.hits) - hits == (2 if from_home == 200 else 0)


@pytest.mark.promise("A4")
async def test_networks_that_are_widened_hold_within_a_second(gateway: LiveGateway) -> None:
    """Whoever is refused could otherwise have Postgres asked as often as they like."""
    tenancy = await near(gateway.services)
    async with gateway.http(tenancy.key) as http:
        assert (await http.post("/api/chat", json=CHAT)).status_code == 403
        await gateway.services.api_keys.set_networks(tenancy.api_key.prefix, None)
        assert await until(http, 200) < 1.5


@pytest.mark.promise("A4")
@pytest.mark.timeout(120)
async def test_narrowed_networks_reach_every_process_with_redis_flushed(
    two_gateways: tuple[Member, Member], management: Services, stores: Stores, ollama: FakeOllama
) -> None:
    for flushed in (False, True):
        for way in ("service", "sql"):
            tenancy = await make_tenancy(management)
            await _expect(two_gateways, tenancy, 200)
            hits = len(ollama.hits)
            if way == "sql":
                await stores.execute("update api_keys set allowed_networks = '{10.0.0.0/8}'")
            else:
                await management.api_keys.set_networks(tenancy.api_key.prefix, ("10.0.0.0/8",))
            if flushed:
                await management.redis.call("FLUSHALL")
            await _expect(two_gateways, tenancy, 403)
            assert len(ollama.hits) == hits


async def _expect(gateways: tuple[Member, ...], tenancy: Tenancy, status: int) -> None:
    for member in gateways:
        async with member.http(tenancy.key) as http:
            answer = await http.post("/api/chat", json=CHAT)
            assert answer.status_code == status, answer.text


async def test_a_rotated_key_is_good_from_the_same_networks(behind_proxy: LiveGateway) -> None:
    tenancy = await near(behind_proxy.services)
    issued = await behind_proxy.services.api_keys.rotate(tenancy.api_key.prefix, overlap_seconds=60, actor="test")
    for key in (tenancy.key, issued.plain.value):
        async with behind_proxy.http(key) as http:
            assert await status_from(http, HOME) == 200
            assert await status_from(http, AWAY) == 403
