"""A real gateway feels each fault proxy, which the stores themselves do not."""

import httpx

from tests.support.factories import make_tenancy
from tests.support.fake_ollama import FakeOllama
from tests.support.fault_proxy import redis_commands
from tests.support.faulty_stores import faulty_stores
from tests.support.gateways import live_gateway
from tests.support.load import CHAT
from tests.support.stores import Stores


async def test_a_gateway_works_through_the_proxies_and_feels_their_faults(stores: Stores, ollama: FakeOllama) -> None:
    async with faulty_stores(stores, ollama) as faulty:
        async with live_gateway(faulty.stores, faulty.upstream_url, redis_timeout_s=0.3) as gateway:
            tenancy = await make_tenancy(gateway.services)
            async with gateway.http(tenancy.key) as http:

                async def status() -> int:
                    return (await http.post("/api/chat", json=CHAT)).status_code

                assert await status() == httpx.codes.OK
                faulty.redis.answer(b"-OOM command not allowed\r\n", redis_commands)
                assert await status() == httpx.codes.SERVICE_UNAVAILABLE
                faulty.redis.heal()
                assert await status() == httpx.codes.OK
                faulty.ollama.refuse()
                assert await status() == httpx.codes.SERVICE_UNAVAILABLE
                faulty.heal()
                faulty.postgres.refuse()
                assert await status() == httpx.codes.SERVICE_UNAVAILABLE
                assert await faulty.direct.fetch("select 1 as one") == [{"one": 1}]
                faulty.heal()  # the services flush what they hold on leaving
        assert len(ollama.hits) == 2
        assert all(proxy.connections for proxy in faulty.proxies.values())
