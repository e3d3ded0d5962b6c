"""What a key may ask for reaches the model server within its policy, from the next request on, and is named."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from neuronetz_gateway.wiring import Services
from tests.support.commands import command
from tests.support.factories import Tenancy, make_tenancy
from tests.support.fake_ollama import FakeOllama
from tests.support.fleet import Member
from tests.support.gateways import LiveGateway, live_gateway
from tests.support.stores import Stores

GENERATE: dict[str, Any] = {"model": "fakea", "prompt": "x", "stream": False}
CHAT: dict[str, Any] = {"model": "fakea", "messages": [{"role": "user", "content": "x"}], "stream": False}
EMBED: dict[str, Any] = {"model": "nomic-embed-text", "input": ["a", "b", "c"]}
PNG = "iVBORw0KGgo="
ABSENT = object()


@dataclass(frozen=True, slots=True)
class Bound:
    """One part of the policy: what is asked under its name, what then goes up without and with it."""

    name: str
    value: int | bool
    path: str
    body: dict[str, Any]
    field: str
    without: object
    within: object

    @property
    def sql(self) -> str:
        value = str(self.value).lower()
        return f"""insert into key_policies (api_key_id, tenant_id, {self.name})
            select id, tenant_id, {value} from api_keys where prefix = $1
            on conflict (api_key_id) do update set {self.name} = excluded.{self.name}"""  # noqa: S608 - this file's own

    def sent(self, ollama: FakeOllama) -> object:
        value: Any = ollama.hits[-1].json
        for part in self.field.split("."):
            value = value.get(part, ABSENT) if isinstance(value, dict) else ABSENT
        return value

    @property
    def asked(self) -> object:
        value: Any = self.body
        for part in self.field.split("."):
            value = value[part]
        return value


CLAMPED = (
    Bound("max_keep_alive_seconds", 600, "/api/chat", CHAT | {"keep_alive": -1}, "keep_alive", ABSENT, 600),
    Bound("max_keep_alive_seconds", 600, "/api/generate", GENERATE | {"keep_alive": 0}, "keep_alive", ABSENT, 300),
    Bound("max_keep_alive_seconds", 600, "/api/embed", EMBED | {"keep_alive": "24h"}, "keep_alive", ABSENT, 600),
    Bound("max_num_ctx", 8192, "/api/chat", CHAT | {"options": {"num_ctx": 1 << 30}}, "options.num_ctx", ABSENT, 8192),
    Bound("max_num_ctx", 8192, "/api/embed", EMBED | {"options": {"num_ctx": 4096}}, "options.num_ctx", ABSENT, 4096),
    Bound("allow_raw", True, "/api/generate", GENERATE | {"raw": True}, "raw", ABSENT, True),
    Bound("allow_context", False, "/api/generate", GENERATE | {"context": [1, 2]}, "context", [1, 2], ABSENT),
    Bound("max_logprobs", 3, "/api/generate", GENERATE | {"top_logprobs": 20}, "top_logprobs", 20, 3),
    Bound("max_logprobs", 0, "/v1/chat/completions", CHAT | {"logprobs": True}, "logprobs", True, ABSENT),
)
IDS = [f"{bound.name}={bound.value} {bound.path} {bound.field}={bound.asked}" for bound in CLAMPED]


async def check(http: httpx.AsyncClient, ollama: FakeOllama, bound: Bound, goes_up: object) -> None:
    answer = await http.post(bound.path, json=bound.body)
    assert answer.status_code == 200, answer.text
    assert bound.sent(ollama) == goes_up
    assert answer.headers.get("x-gateway-adjusted") == (None if goes_up == bound.asked else bound.field)


@pytest.mark.promise("N6", "A4")
@pytest.mark.parametrize("bound", CLAMPED, ids=IDS)
async def test_a_policy_holds_from_the_next_request_set_by_service_or_sql(
    gateway: LiveGateway, ollama: FakeOllama, stores: Stores, bound: Bound
) -> None:
    """The caches know the key without the policy: the ledger says that they are stale, the body is read once more."""
    keys = gateway.services.api_keys
    tenancy = await make_tenancy(gateway.services)
    prefix = tenancy.api_key.prefix
    async with gateway.http(tenancy.key) as http:
        await check(http, ollama, bound, bound.without)
        await keys.set_policy(prefix, {bound.name: bound.value}, afresh=False)
        await check(http, ollama, bound, bound.within)
        await keys.set_policy(prefix, {}, afresh=True)
        await check(http, ollama, bound, bound.without)
        await stores.execute(bound.sql, prefix)
        await check(http, ollama, bound, bound.within)
        await stores.execute("delete from key_policies")
        await check(http, ollama, bound, bound.without)
    assert len(ollama.hits) == 5


@pytest.mark.promise("N6")
@pytest.mark.parametrize("bound", CLAMPED, ids=IDS)
async def test_settings_hold_for_keys_without_a_policy(stores: Stores, ollama: FakeOllama, bound: Bound) -> None:
    changed: dict[str, Any] = {{"max_keep_alive_seconds": "max_keep_alive_s"}.get(bound.name, bound.name): bound.value}
    async with live_gateway(stores, ollama.base_url, **changed) as gateway:
        tenancy = await make_tenancy(gateway.services)
        async with gateway.http(tenancy.key) as http:
            await check(http, ollama, bound, bound.within)
            shown = (await http.get("/account")).json()["policy"]
            assert shown[bound.name] == bound.value
            # what a key has of its own comes before them, wider or narrower
            own = {"allow_raw": False, "allow_context": True, "max_logprobs": 20}.get(bound.name, 0)
            await gateway.services.api_keys.set_policy(tenancy.api_key.prefix, {bound.name: own}, afresh=False)
            await check(http, ollama, bound, bound.without)
            assert (await http.get("/account")).json()["policy"] == shown | {bound.name: own}


@pytest.mark.promise("A4")
async def test_a_large_body_is_read_once_more_under_a_changed_policy(gateway: LiveGateway, ollama: FakeOllama) -> None:
    """Both readings are off the event loop; nothing of the body is asked of its caller again."""
    tenancy = await make_tenancy(gateway.services)
    body = GENERATE | {"prompt": "word " * 100_000, "keep_alive": "1h"}
    async with gateway.http(tenancy.key) as http:
        for seconds in (600, 0, 900):
            changes = {"max_keep_alive_seconds": seconds}
            await gateway.services.api_keys.set_policy(tenancy.api_key.prefix, changes, afresh=False)
            assert (await http.post("/api/generate", json=body)).status_code == 200
    assert [hit.json.get("keep_alive", 0) for hit in ollama.hits] == [600, 0, 900]
    assert {len(hit.json["prompt"]) for hit in ollama.hits} == {500_000}


def _images(count: int) -> list[tuple[str, dict[str, Any]]]:
    part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    block = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    shown = {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"}
    return [
        ("/api/generate", GENERATE | {"images": [PNG] * count}),
        ("/api/chat", CHAT | {"messages": [{"role": "user", "content": "x", "images": [PNG]}] * count}),
        ("/v1/chat/completions", CHAT | {"messages": [{"role": "user", "content": [part]}] * count}),
        ("/v1/responses", {"model": "fakea", "input": [{"role": "user", "content": [shown] * count}]}),
        ("/v1/messages", CHAT | {"messages": [{"role": "user", "content": [block] * count}], "max_tokens": 9}),
    ]


@pytest.mark.promise("A4")
async def test_more_images_than_the_policy_says_are_refused_from_the_next_request_given_or_taken(
    gateway: LiveGateway, ollama: FakeOllama, stores: Stores
) -> None:
    """A key that had just been given more used to be refused for as long as the caches knew what it had before: the
    refusal came before the ledger, which alone would have told that it was stale."""
    tenancy = await make_tenancy(gateway.services)
    prefix = tenancy.api_key.prefix
    hits = 0
    async with gateway.http(tenancy.key) as http:
        for path, body in _images(3):
            for most in (2, 3, 0, None):
                if most:
                    await gateway.services.api_keys.set_policy(prefix, {"max_images": most}, afresh=True)
                else:
                    await stores.execute("update key_policies set max_images = $1", most)
                answer = await http.post(path, json=body)
                served = most is None or most >= 3
                assert answer.status_code == (200 if served else 400), (path, most, answer.text)
                assert served or "one image too many" in answer.text
                hits += served
                assert len(ollama.hits) == hits


@pytest.mark.promise("A4")
async def test_a_larger_batch_than_the_policy_says_is_refused_from_the_next_request_given_or_taken(
    gateway: LiveGateway, ollama: FakeOllama
) -> None:
    tenancy = await make_tenancy(gateway.services)
    async with gateway.http(tenancy.key) as http:
        for path in ("/api/embed", "/v1/embeddings"):
            for most in (2, 3, 2, None, 1, 2048):
                changes = {"max_embedding_inputs": most}
                await gateway.services.api_keys.set_policy(tenancy.api_key.prefix, changes, afresh=False)
                answer = await http.post(path, json=EMBED)
                assert answer.status_code == (200 if most is None or most >= 3 else 400), (path, most)
    assert len(ollama.hits) == 6


@pytest.mark.promise("N6", "A4")
async def test_a_load_pins_a_model_no_longer_than_the_policy_says(gateway: LiveGateway, ollama: FakeOllama) -> None:
    tenancy = await make_tenancy(gateway.services, may_load_models=True)
    load = {"model": "fakea", "keep_alive": -1}
    async with gateway.http(tenancy.key) as http:
        assert "x-gateway-adjusted" not in (await http.post("/api/generate", json=load)).headers
        await gateway.services.api_keys.set_policy(
            tenancy.api_key.prefix, {"max_keep_alive_seconds": 600}, afresh=False
        )
        answer = await http.post("/api/generate", json=load)
        unload = await http.post("/api/generate", json=load | {"keep_alive": 0})
    assert [hit.json["keep_alive"] for hit in ollama.hits] == [-1, 600, 0]
    assert answer.headers["x-gateway-adjusted"] == "keep_alive"
    assert "x-gateway-adjusted" not in unload.headers


async def test_a_greater_num_ctx_reserves_for_the_longer_prompt_that_it_holds(
    stores: Stores, ollama: FakeOllama
) -> None:
    """The bound of a prompt stops at what the model holds; a request that has it loaded larger may use more."""
    ollama.shows("fakea:latest", model_info={"general.architecture": "llama", "llama.context_length": 4096})
    async with live_gateway(stores, ollama.base_url, model_facts_refresh_s=60, max_num_ctx=32768) as gateway:
        tenancy = await make_tenancy(gateway.services)
        facts = gateway.services.model_knowledge
        async with asyncio.timeout(10):
            while (known := facts.facts_of("fakea:latest")) is None or known.context_tokens != 4096:
                await asyncio.sleep(0.01)
        async with gateway.http(tenancy.key) as http:
            for options in ({}, {"num_ctx": 32768}):
                body = GENERATE | {"prompt": "word " * 4000, "options": options}
                assert (await http.post("/api/generate", json=body)).status_code == 200
    rows = await stores.fetch("select reserved_tokens from audit_log order by id")
    small, large = (row["reserved_tokens"] for row in rows)
    assert small <= 4096 + 4096
    assert large > 20_000


@pytest.mark.promise("A4", "N6")
@pytest.mark.timeout(120)
async def test_a_policy_reaches_every_process_by_command_by_sql_with_redis_flushed(
    two_gateways: tuple[Member, Member],
    management: Services,
    stores: Stores,
    ollama: FakeOllama,
    env_file: Path,
    no_settings: None,
) -> None:
    del no_settings
    tenancy = await make_tenancy(management)
    prefix = tenancy.api_key.prefix
    body = GENERATE | {"keep_alive": "1h", "options": {"num_ctx": 1 << 20}}

    async def by_command(*words: str) -> None:
        done = await asyncio.to_thread(command, "set-policy", "--key", prefix, *words, env_file=env_file)
        assert done.status == 0, done.err

    changes: list[tuple[Callable[[], Awaitable[object]], object, object]] = [
        (lambda: by_command("--keep-alive", "10m"), 600, ABSENT),
        (lambda: by_command("--num-ctx", "4096"), 600, 4096),
        (lambda: stores.execute("update key_policies set max_keep_alive_seconds = 900"), 900, 4096),
        (lambda: by_command("--keep-alive", "none", "--num-ctx", "inherit"), ABSENT, ABSENT),
        (lambda: stores.execute("update key_policies set max_num_ctx = 64"), ABSENT, 64),
        (lambda: by_command("--reset"), ABSENT, ABSENT),
    ]
    for flushed in (False, True):
        for change, keep_alive, num_ctx in changes:
            await change()
            if flushed:
                await management.redis.call("FLUSHALL")
            for member in two_gateways:
                await _sent(member, tenancy, body)
                sent = ollama.hits[-1].json
                assert sent.get("keep_alive", ABSENT) == keep_alive
                assert sent.get("options", {}).get("num_ctx", ABSENT) == num_ctx


async def _sent(member: Member, tenancy: Tenancy, body: dict[str, Any]) -> None:
    async with member.http(tenancy.key) as http:
        answer = await http.post("/api/generate", json=body)
        assert answer.status_code == 200, answer.text
        assert set(answer.headers["x-gateway-adjusted"].split(",")) == {"keep_alive", "options.num_ctx"}
