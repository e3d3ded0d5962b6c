"""Prompts are kept for nobody but the keys that were told so, sealed, for their time."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from neuronetz_gateway.errors import ConflictError, InvalidRequestError, NotFoundError
from neuronetz_gateway.prompt_cipher import PromptUnreadableError
from neuronetz_gateway.wiring import build_services
from tests.support.factories import Tenancy, make_key, make_tenancy
from tests.support.fake_ollama import FakeOllama
from tests.support.gateways import LiveGateway, live_gateway, make_settings
from tests.support.ledgers import until
from tests.support.load import CHAT
from tests.support.stores import Stores
from tests.support.whole_stores import whole_database, whole_redis

CANARY = "canary-prompt-51c0de"
KEY, OTHER = "a1b2c3d4" * 8, "e5f6a7b8" * 8
ACTOR = "test"


@pytest.fixture
async def gateway(stores: Stores, ollama: FakeOllama) -> AsyncIterator[LiveGateway]:
    async with live_gateway(stores, ollama.base_url, prompt_log_key=KEY, prompt_log_max_bytes=1024) as live:
        yield live


async def say(gateway: LiveGateway, key: str, text: str = CANARY) -> None:
    async with gateway.http(key) as http:
        body = {**CHAT, "messages": [{"role": "user", "content": text}]}
        assert (await http.post("/api/chat", json=body)).status_code == 200


async def logging_tenancy(gateway: LiveGateway, lasting: timedelta = timedelta(hours=1)) -> Tenancy:
    tenancy = await make_tenancy(gateway.services)
    await gateway.services.logged_prompts.set_logging(tenancy.api_key.prefix, lasting, actor=ACTOR)
    return tenancy


async def kept(stores: Stores, count: int) -> list[dict[str, Any]]:
    """The rows of the log once there are as many; they are written beside the request."""

    async def there() -> bool:
        return len(await stores.fetch("select id from prompt_log")) == count

    await until(there)
    return await stores.fetch("select * from prompt_log order by admitted_at")


async def completed(stores: Stores, count: int) -> list[dict[str, Any]]:
    """The audit rows of answers once there are as many; a row follows its answer's last byte, and may come after
    the kept prompt."""
    query = "select id from audit_log where outcome = 'completed'"

    async def there() -> bool:
        return len(await stores.fetch(query)) == count

    await until(there)
    return await stores.fetch(query)


@pytest.mark.promise("D5")
async def test_without_being_told_no_prompt_is_in_any_store(gateway: LiveGateway, stores: Stores) -> None:
    tenancy = await make_tenancy(gateway.services)
    told = await make_key(gateway.services, tenancy.tenant)
    await gateway.services.logged_prompts.set_logging(told.api_key.prefix, timedelta(hours=1), actor=ACTOR)
    await say(gateway, tenancy.key)
    await say(gateway, told.key, "nothing special")
    await kept(stores, 1)
    assert CANARY not in await whole_database(stores)
    assert CANARY not in await whole_redis(gateway.services)


@pytest.mark.promise("D5")
async def test_a_kept_prompt_is_ciphertext_that_an_explicit_act_reads(gateway: LiveGateway, stores: Stores) -> None:
    tenancy = await logging_tenancy(gateway)
    await say(gateway, tenancy.key)
    (row,) = await kept(stores, 1)
    (audited,) = await completed(stores, 1)
    assert row["id"] == audited["id"]
    held = await whole_database(stores)
    assert CANARY not in held
    assert CANARY.encode().hex() not in held
    assert CANARY not in await whole_redis(gateway.services)
    read = await gateway.services.logged_prompts.read(audited["id"], actor=ACTOR)
    assert CANARY.encode() in read.prompt
    assert not read.cut
    notes = await stores.fetch("select reason, user_agent, request_id from audit_log where outcome = 'noted'")
    assert {"reason": "prompt read", "user_agent": ACTOR, "request_id": str(audited["id"])} in notes


@pytest.mark.promise("D5")
async def test_a_prompt_is_unreadable_after_its_time_then_gone(gateway: LiveGateway, stores: Stores) -> None:
    tenancy = await logging_tenancy(gateway, timedelta(seconds=1))
    await say(gateway, tenancy.key)
    (row,) = await kept(stores, 1)
    prompt_id = row["id"]
    (late,) = await stores.fetch("select extract(epoch from expires_at - now())::float8 as seconds from prompt_log")
    assert late["seconds"] <= 1
    await asyncio.sleep(max(0.0, late["seconds"]) + 0.05)  # what is promised is time itself
    with pytest.raises(NotFoundError, match="time is over"):
        await gateway.services.logged_prompts.read(prompt_id, actor=ACTOR)
    await stores.fetch("select prompt_log_purge()")
    assert await stores.fetch("select id from prompt_log") == []


@pytest.mark.promise("D5")
async def test_days_whose_prompts_have_all_expired_are_dropped_as_a_whole(stores: Stores) -> None:
    await stores.execute("select prompt_log_ensure_partitions(current_date - 3, 2)")
    await stores.execute(
        "insert into prompt_log select gen_random_uuid(), current_date - 3, gen_random_uuid(), gen_random_uuid(), "
        "'m', 'e', 'r', now() - interval '9 days', now() - interval '3 days', 1, 'k', '', ''"
    )
    await stores.execute("select prompt_log_purge()")
    left = await stores.fetch(
        "select relname from pg_class "
        "where relname ~ '^prompt_log_[0-9]{8}$' and right(relname, 8) < to_char(now(), 'YYYYMMDD')"
    )
    assert left == []
    assert await stores.fetch("select id from prompt_log") == []


async def test_the_database_alone_cannot_move_change_or_prolong_a_prompt(gateway: LiveGateway, stores: Stores) -> None:
    tenancy = await logging_tenancy(gateway)
    await say(gateway, tenancy.key)
    (row,) = await kept(stores, 1)
    prompt_id = row["id"]
    for change in (
        "expires_at = expires_at + interval '1 hour'",
        "api_key_id = tenant_id",
        "sealed = sealed || '\\x00'::bytea",
        "nonce = '\\x000000000000000000000000'::bytea",
    ):
        await stores.execute("create table kept_rows as select * from prompt_log")
        await stores.execute(f"update prompt_log set {change}")  # noqa: S608 - a test's own constants
        with pytest.raises(PromptUnreadableError, match="changed"):
            await gateway.services.logged_prompts.read(prompt_id, actor=ACTOR)
        await stores.execute("delete from prompt_log")
        await stores.execute("insert into prompt_log select * from kept_rows")
        await stores.execute("drop table kept_rows")
    await gateway.services.logged_prompts.read(prompt_id, actor=ACTOR)


async def test_a_long_prompt_is_cut_and_says_so(gateway: LiveGateway, stores: Stores) -> None:
    tenancy = await logging_tenancy(gateway)
    await say(gateway, tenancy.key, "x" * 5000)
    (row,) = await kept(stores, 1)
    (found,) = await gateway.services.logged_prompts.list(tenant_name=tenancy.tenant.name, prefix=None, limit=5)
    read = await gateway.services.logged_prompts.read(found.id, actor=ACTOR)
    assert (len(read.prompt), read.cut) == (1024, True)
    assert found.prompt_bytes > 5000
    assert found.id == row["id"]


async def test_the_prompts_of_a_tenant_can_be_erased_while_the_audit_log_stays(
    gateway: LiveGateway, stores: Stores
) -> None:
    tenancy, neighbour = await logging_tenancy(gateway), await logging_tenancy(gateway)
    for key in (tenancy.key, tenancy.key, neighbour.key):
        await say(gateway, key)
    await kept(stores, 3)
    gone = await gateway.services.logged_prompts.erase(tenant_name=tenancy.tenant.name, prefix=None, actor=ACTOR)
    assert gone == 2
    (left,) = await kept(stores, 1)
    assert left["tenant_id"] == neighbour.tenant.id
    assert len(await completed(stores, 3)) == 3


async def test_logging_that_is_turned_off_keeps_nothing_more(gateway: LiveGateway, stores: Stores) -> None:
    tenancy = await logging_tenancy(gateway)
    await say(gateway, tenancy.key)
    await kept(stores, 1)
    await gateway.services.logged_prompts.set_logging(tenancy.api_key.prefix, None, actor=ACTOR)
    await say(gateway, tenancy.key)
    await kept(stores, 1)


async def test_a_refused_request_leaves_no_prompt(gateway: LiveGateway, stores: Stores, ollama: FakeOllama) -> None:
    tenancy = await logging_tenancy(gateway)
    async with gateway.http(tenancy.key) as http:
        assert (await http.post("/api/chat", json={**CHAT, "messages": CANARY})).status_code == 400
    assert ollama.hits == []
    await say(gateway, tenancy.key, "good")
    (row,) = await kept(stores, 1)
    read = await gateway.services.logged_prompts.read(row["id"], actor=ACTOR)
    assert b"good" in read.prompt


async def test_without_a_key_to_seal_with_nothing_is_kept_and_nobody_can_be_told_to(
    stores: Stores, ollama: FakeOllama
) -> None:
    async with live_gateway(stores, ollama.base_url) as gateway:
        tenancy = await make_tenancy(gateway.services)
        with pytest.raises(ConflictError, match="PROMPT_LOG_KEY"):
            await gateway.services.logged_prompts.set_logging(tenancy.api_key.prefix, timedelta(hours=1), actor=ACTOR)
        await stores.execute("update api_keys set prompt_log_seconds = 60")  # another writer's way
        await say(gateway, tenancy.key)
        async with gateway.http() as http:
            assert "prompt_not_kept" in (await http.get("/metrics")).text
    assert await stores.fetch("select id from prompt_log") == []


async def test_no_prompt_may_be_kept_longer_than_the_settings_allow(gateway: LiveGateway) -> None:
    tenancy = await make_tenancy(gateway.services)
    with pytest.raises(InvalidRequestError, match="PROMPT_LOG_MAX_DAYS"):
        await gateway.services.logged_prompts.set_logging(tenancy.api_key.prefix, timedelta(days=31), actor=ACTOR)


async def test_another_key_cannot_read_what_was_kept(gateway: LiveGateway, stores: Stores, ollama: FakeOllama) -> None:
    tenancy = await logging_tenancy(gateway)
    await say(gateway, tenancy.key)
    (row,) = await kept(stores, 1)
    stranger = build_services(make_settings(stores, ollama.base_url, prompt_log_key=OTHER))
    rotated = build_services(make_settings(stores, ollama.base_url, prompt_log_key=OTHER, prompt_log_key_previous=KEY))
    try:
        with pytest.raises(PromptUnreadableError, match="PROMPT_LOG_KEY_PREVIOUS"):
            await stranger.logged_prompts.read(row["id"], actor=ACTOR)
        assert (await rotated.logged_prompts.read(row["id"], actor=ACTOR)).prompt
    finally:
        await stranger.aclose()
        await rotated.aclose()
