"""Neighbours of a good key, or principals written into Redis by somebody else: none of them is worth anything."""

import asyncio
import itertools
import re
import string
from dataclasses import dataclass, replace

import httpx
import pytest
import redis.asyncio

from neuronetz_gateway.domain.api_key import PlainKey
from neuronetz_gateway.domain.limit import Limits
from neuronetz_gateway.domain.request_policy import KeyPolicy
from neuronetz_gateway.key_hashing import KeyHasher
from neuronetz_gateway.services.identity import Identity, decoded, encoded
from neuronetz_gateway.wiring import Services
from tests.support.factories import Tenancy, make_tenancy
from tests.support.fake_ollama import FakeOllama
from tests.support.flood import flood
from tests.support.gateways import PEPPER, LiveGateway, live_gateway
from tests.support.load import CHAT
from tests.support.raw_http import request_bytes
from tests.support.stores import Stores

MAC_BYTES = 32
LETTERS = string.ascii_letters + string.digits
EVERYTHING = KeyPolicy(
    max_keep_alive_seconds=31_536_000, max_num_ctx=2_000_000, max_images=1_000, max_embedding_inputs=1_000_000,
    max_logprobs=20, allow_raw=True, allow_context=True,
)  # fmt: skip
GREEDY = {
    "model": "fakea", "prompt": "Hello", "stream": False, "raw": True, "keep_alive": -1, "context": [1, 2, 3],
    "options": {"num_ctx": 1_000_000},
}  # fmt: skip


def mutants_of(key: str) -> list[str]:
    """Every key that differs from it in one character."""
    return [
        key[:place] + letter + key[place + 1 :]
        for place, letter in itertools.product(range(len(key)), LETTERS + "_-. é\t")
        if letter != key[place]
    ]


async def _refuses_all(stores: Stores, ollama: FakeOllama, times: int, step: int) -> int:
    sent = 0
    async with live_gateway(stores, ollama.base_url) as gateway:
        for _ in range(times):
            tenancy = await make_tenancy(gateway.services)
            async with gateway.http(tenancy.key) as http:
                assert (await http.post("/api/chat", json=CHAT)).status_code == 200
                mutants = mutants_of(tenancy.key)[::step]
                sent += len(mutants)
                hits = len(ollama.requests)
                requests = (_asking(mutant) for mutant in mutants)
                seen = await flood(gateway.base_url, iter([*requests]), connections=60)
                assert set(seen) <= {400, 401, 429}, seen
                assert seen.total() == len(mutants)
                assert len(ollama.requests) == hits
                assert (await http.post("/api/chat", json=CHAT)).status_code == 200  # the good one goes on working
    return sent


def _asking(key: str) -> bytes:
    body = b'{"model":"fakea","messages":[{"role":"user","content":"x"}]}'
    return request_bytes("POST", "/api/chat", key=key, body=body).replace(b"Connection: close\r\n", b"")


@pytest.mark.promise("A10")
async def test_no_neighbour_of_a_cached_key_is_accepted(stores: Stores, ollama: FakeOllama) -> None:
    print(f"A10: {await _refuses_all(stores, ollama, 1, 3)} mutants, none accepted")


@pytest.mark.full
@pytest.mark.promise("A10")
@pytest.mark.timeout(300)
async def test_no_neighbour_of_several_cached_keys_is_accepted(stores: Stores, ollama: FakeOllama) -> None:
    sent = await _refuses_all(stores, ollama, 4, 1)
    print(f"A10: {sent} mutants, none accepted")
    assert sent >= 10_000


@dataclass(frozen=True, slots=True)
class Shelf:
    """The place of one key in Redis, as somebody has it who can write there but does not know the pepper."""

    client: redis.asyncio.Redis
    name: str

    async def taken(self) -> bytes:
        """What a gateway has put there, once it has."""
        async with asyncio.timeout(5):
            while not (entry := await self.client.get(self.name)):
                await asyncio.sleep(0.01)
        assert isinstance(entry, bytes)
        return entry

    async def put(self, entry: bytes) -> None:
        await self.client.set(self.name, entry)

    async def replaced(self, entry: bytes) -> None:
        """Until a gateway has written its own over it, which it does behind the request that found it forged."""
        async with asyncio.timeout(5):
            while await self.client.get(self.name) == entry:
                await asyncio.sleep(0.002)


def shelf_of(client: redis.asyncio.Redis, tenancy: Tenancy) -> Shelf:
    plain = PlainKey.parse(tenancy.key)
    assert plain is not None
    hasher = KeyHasher(PEPPER.encode(), None, memory_kib=64, time_cost=1, parallelism=1)
    return Shelf(client, f"nz:key:{hasher.cache_name(plain).hex()}")


def principals_of(own: Identity, other: Identity) -> dict[str, Identity]:
    """What one would write there if one could: more rights, another tenant, the new fields included."""
    mine = own.principal
    better = {
        "no networks": replace(mine, allowed_networks=None),
        "all networks": replace(mine, allowed_networks=("0.0.0.0/0", "::/0")),
        "a policy": replace(mine, policy=EVERYTHING, allowed_networks=None),
        "all models": replace(mine, allow_all_models=True, allowed_networks=None),
        "no limits": replace(mine, key_limits=Limits(), tenant_limits=Limits(), allowed_networks=None),
        "loading": replace(mine, may_load_models=True, allowed_networks=None),
        "no prompt log": replace(mine, prompt_log_seconds=None, allowed_networks=None),
        "later versions": replace(mine, key_version=10**9, tenant_version=10**9, allowed_networks=None),
        "another tenant": replace(mine, tenant_id=other.principal.tenant_id, allowed_networks=None),
        "another key": replace(other.principal, key_prefix=mine.key_prefix),
    }
    return {name: Identity(principal, own.proof) for name, principal in better.items()} | {"the other's": other}


async def _counted(gateway: LiveGateway, event: str) -> int:
    async with gateway.http() as http:
        text = (await http.get("/metrics")).text
    found = re.search(rf'neuronetz_events_total{{event="{event}"}} ([0-9.]+)', text)
    return int(float(found[1])) if found else 0


async def _narrow(services: Services, tenancy: Tenancy) -> None:
    """From nowhere that these tests call from, with a policy that gives less than the settings."""
    await services.api_keys.set_networks(tenancy.api_key.prefix, ("192.0.2.0/24",))
    await services.api_keys.set_policy(tenancy.api_key.prefix, {"allow_context": False}, afresh=False)


async def _asked(gateway: LiveGateway, tenancy: Tenancy) -> httpx.Response:
    async with gateway.http(tenancy.key) as http:
        return await http.post("/api/generate", json=GREEDY)


@pytest.mark.promise("A11")
async def test_a_principal_written_into_redis_by_somebody_else_is_worth_nothing(
    stores: Stores, ollama: FakeOllama
) -> None:
    """Each request finds nothing in its process, so that Redis is what it would have to believe."""
    async with (
        live_gateway(stores, ollama.base_url, key_memory_ttl_s=0.001, allow_raw=False) as gateway,
        redis.asyncio.Redis.from_url(stores.redis_url) as client,
    ):
        narrow, rich = await make_tenancy(gateway.services), await make_tenancy(gateway.services)
        await _narrow(gateway.services, narrow)
        assert (await _asked(gateway, narrow)).status_code == 403
        assert (await _asked(gateway, rich)).status_code == 200
        mine, theirs = shelf_of(client, narrow), shelf_of(client, rich)
        sealed, other = await mine.taken(), await theirs.taken()
        own, good = decoded(sealed[MAC_BYTES:]), decoded(other[MAC_BYTES:])
        assert own is not None
        assert good is not None
        hits, forged = len(ollama.hits), await _counted(gateway, "forged_cache_entry")
        tried = 0
        for name, identity in principals_of(own, good).items():
            for seal in (sealed[:MAC_BYTES], other[:MAC_BYTES], b"\0" * MAC_BYTES, b""):
                entry = seal + encoded(identity)
                await mine.put(entry)
                answer = await _asked(gateway, narrow)
                assert (answer.status_code, "192.0.2" in answer.text) == (403, False), name
                await mine.replaced(entry)
                tried += 1
        await mine.put(other)
        assert (await _asked(gateway, narrow)).status_code == 403
        assert len(ollama.hits) == hits
        # more than one for each where a second look came before what was read afresh had been written
        assert await _counted(gateway, "forged_cache_entry") >= forged + tried + 1
    print(f"A11: {tried + 1} forged principals, none accepted")


@pytest.mark.promise("A11")
async def test_an_edited_policy_or_a_copied_one_changes_nothing_of_what_goes_up(
    stores: Stores, ollama: FakeOllama
) -> None:
    async with (
        live_gateway(stores, ollama.base_url, key_memory_ttl_s=0.001) as gateway,
        redis.asyncio.Redis.from_url(stores.redis_url) as client,
    ):
        tenancy, rich = await make_tenancy(gateway.services), await make_tenancy(gateway.services)
        await gateway.services.api_keys.set_policy(tenancy.api_key.prefix, {"allow_context": False}, afresh=False)
        await gateway.services.api_keys.set_policy(rich.api_key.prefix, {"allow_raw": True}, afresh=False)
        assert {(await _asked(gateway, each)).status_code for each in (tenancy, rich)} == {200}
        mine, theirs = shelf_of(client, tenancy), shelf_of(client, rich)
        sealed, other = await mine.taken(), await theirs.taken()
        own = decoded(sealed[MAC_BYTES:])
        assert own is not None
        forged = sealed[:MAC_BYTES] + encoded(replace(own, principal=replace(own.principal, policy=EVERYTHING)))
        for entry in (forged, other, other[:MAC_BYTES] + sealed[MAC_BYTES:]):
            await mine.put(entry)
            answer = await _asked(gateway, tenancy)
            assert answer.status_code == 200
            sent = ollama.hits[-1].json
            assert not {"raw", "keep_alive", "context"} & set(sent), sent
            assert "num_ctx" not in sent["options"]
            adjusted = answer.headers["x-gateway-adjusted"].split(",")
            assert set(adjusted) >= {"raw", "keep_alive", "context", "options.num_ctx"}


@pytest.mark.promise("A11", "A4")
async def test_an_old_entry_of_the_gateway_put_back_later_gives_no_old_rights(
    stores: Stores, ollama: FakeOllama
) -> None:
    """Its seal is genuine. That it is stale the ledger knows, by the versions of the key, before anything goes up."""
    async with (
        live_gateway(stores, ollama.base_url, key_memory_ttl_s=0.001) as gateway,
        redis.asyncio.Redis.from_url(stores.redis_url) as client,
    ):
        tenancy = await make_tenancy(gateway.services)
        await gateway.services.api_keys.set_policy(tenancy.api_key.prefix, {"allow_raw": True}, afresh=False)
        assert (await _asked(gateway, tenancy)).status_code == 200
        assert ollama.hits[-1].json["raw"] is True
        place = shelf_of(client, tenancy)
        old = await place.taken()
        await gateway.services.api_keys.set_policy(tenancy.api_key.prefix, {}, afresh=True)
        await place.put(old)
        assert (await _asked(gateway, tenancy)).status_code == 200
        assert "raw" not in ollama.hits[-1].json
        await _narrow(gateway.services, tenancy)
        hits = len(ollama.requests)
        for path in ("/api/generate", "/api/tags", "/account"):
            await place.put(old)
            async with gateway.http(tenancy.key) as http:
                answer = await (http.post(path, json=GREEDY) if path == "/api/generate" else http.get(path))
            assert answer.status_code == 403, (path, answer.text)
        assert len(ollama.requests) == hits
