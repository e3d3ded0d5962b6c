"""A key's last use is the end of its last request that found it good."""

from datetime import UTC, datetime, timedelta

from neuronetz_gateway.domain.limit import Limits
from tests.support.factories import Tenancy, make_key, make_tenancy
from tests.support.fake_ollama import FakeOllama, Script
from tests.support.gateways import LiveGateway, live_gateway
from tests.support.load import CHAT
from tests.support.stores import Stores

STREAM = CHAT | {"stream": True}


async def used(gateway: LiveGateway, tenancy: Tenancy) -> bool:
    """Whether its use has been written down; forgets that it was, so that the next one is seen."""
    await gateway.services.key_uses.flush()
    [key] = [key for key in await gateway.services.api_keys.list(tenancy.tenant.name) if key.id == tenancy.api_key.id]
    if key.last_used_at is None:
        return False
    assert abs(datetime.now(UTC) - key.last_used_at) < timedelta(minutes=1)
    async with gateway.services.database.begin() as connection:
        await connection.exec_driver_sql("delete from key_uses")
    return True


async def test_every_request_of_a_good_key_is_a_use_served_or_refused(gateway: LiveGateway, ollama: FakeOllama) -> None:
    tenancy = await make_tenancy(gateway.services, key_limits=Limits(rpm=3))
    other = await make_key(gateway.services, tenancy.tenant)
    assert not await used(gateway, tenancy)
    async with gateway.http(tenancy.key) as http:
        for method, path, body, status in (
            ("POST", "/api/chat", CHAT, 200),
            ("GET", "/api/tags", None, 200),
            ("GET", "/account", None, 200),
            ("POST", "/api/chat", {}, 400),
            ("POST", "/v1/chat/completions", CHAT, 200),
            ("POST", "/api/chat", CHAT, 429),
        ):
            assert (await http.request(method, path, json=body)).status_code == status
            assert await used(gateway, tenancy), (path, status)
    assert not await used(gateway, other)
    assert len(ollama.hits) == 2


async def test_a_dead_key_is_not_used_however_often_it_is_shown(gateway: LiveGateway, stores: Stores) -> None:
    """Presenting an expired key counted as a use of it, and so did the first request after its revocation."""
    tenancy = await make_tenancy(gateway.services)
    expired = await make_key(gateway.services, tenancy.tenant, expires_at=datetime.now(UTC) - timedelta(seconds=1))
    away = await make_key(gateway.services, tenancy.tenant)
    await gateway.services.api_keys.set_networks(away.api_key.prefix, ("10.0.0.0/8",))
    async with gateway.http(tenancy.key) as http:
        assert (await http.post("/api/chat", json=CHAT)).status_code == 200
        assert await used(gateway, tenancy)
        await stores.execute("update api_keys set revoked_at = now() where id = $1", tenancy.api_key.id)
        assert (await http.post("/api/chat", json=CHAT)).status_code == 401
    for dead, status in ((tenancy, 401), (expired, 401), (away, 403)):
        async with gateway.http(dead.key) as http:
            for path in ("/api/chat", "/v1/chat/completions"):
                assert (await http.post(path, json=CHAT)).status_code == status
            assert (await http.get("/account")).status_code == status
        assert not await used(gateway, dead)


async def test_a_caller_who_leaves_has_used_the_key(gateway: LiveGateway, ollama: FakeOllama) -> None:
    ollama.script = Script(tokens=1000, gap_seconds=0.05)
    tenancy = await make_tenancy(gateway.services)
    async with gateway.http(tenancy.key) as http, http.stream("POST", "/api/chat", json=STREAM) as answer:
        await anext(answer.aiter_bytes())
    await ollama.wait_for(lambda: ollama.in_flight == 0)
    assert await used(gateway, tenancy)


async def test_uses_are_written_when_the_gateway_ends_and_touch_no_version(stores: Stores, ollama: FakeOllama) -> None:
    versions = "select k.version as key, t.version as tenant from api_keys k join tenants t on t.id = k.tenant_id"
    async with live_gateway(stores, ollama.base_url) as gateway:
        tenancy = await make_tenancy(gateway.services)
        async with gateway.http(tenancy.key) as http:
            for _ in range(2):
                assert (await http.post("/api/chat", json=CHAT)).status_code == 200
                before = await stores.fetch(versions)  # the first tells Redis of the tenant, which moves its version
    [row] = await stores.fetch("select api_key_id, host(last_address) as address from key_uses")
    assert (row["api_key_id"], row["address"]) == (tenancy.api_key.id, "127.0.0.1")
    assert await stores.fetch(versions) == before
