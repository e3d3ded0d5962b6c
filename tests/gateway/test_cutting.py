"""Running answers are cut, with the reason, once their key is gone or their reservation is."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import ollama as ollama_sdk
import openai
import pytest

from neuronetz_gateway.errors import AnswerCutError, UnavailableError
from neuronetz_gateway.repositories.ledger import Ledger
from neuronetz_gateway.services.revocation_watch import RevocationWatch
from neuronetz_gateway.wiring import Services
from tests.gateway.test_budgeting import settled, usage_of
from tests.support.factories import make_key, make_tenancy
from tests.support.fake_ollama import Ended, FakeOllama, Script
from tests.support.forks import Zygote
from tests.support.gateways import GatewayProcess, LiveGateway, gateway_fork, live_gateway
from tests.support.ledgers import make_database, until
from tests.support.load import CHAT
from tests.support.no_tls import NO_TLS
from tests.support.stores import Stores

CUT_SECONDS = 10.0  # promised; no slack is needed, since a heartbeat is half of it
WAITING = "select 1 from pg_stat_activity where wait_event_type = 'Lock' and query like '%api_keys%'"
LONG = Script(tokens=100_000, gap_seconds=0.05)


class Answer:
    """A stream that somebody reads, with how it ended."""

    def __init__(self, parts: AsyncIterator[object]) -> None:
        self.parts = 0
        self.begun = asyncio.Event()
        self.told = ""
        self.ended_at = 0.0
        self.reading = asyncio.create_task(self._read(parts))

    async def _read(self, parts: AsyncIterator[object]) -> None:
        try:
            async for _ in parts:
                self.parts += 1
                self.begun.set()
        except (ollama_sdk.ResponseError, openai.APIError, httpx.RemoteProtocolError) as error:
            self.told = str(error)
        self.ended_at = time.monotonic()


async def by_ollama(gateway: GatewayProcess | LiveGateway, key: str, closing: AsyncExitStack) -> Answer:
    client = ollama_sdk.AsyncClient(
        gateway.base_url, headers={"Authorization": f"Bearer {key}"}, verify=NO_TLS, trust_env=False
    )
    closing.push_async_callback(client._client.aclose)
    return Answer(aiter(await client.chat("fakea", CHAT["messages"], stream=True)))


async def by_openai(gateway: GatewayProcess | LiveGateway, key: str, closing: AsyncExitStack) -> Answer:
    client = openai.AsyncOpenAI(
        base_url=f"{gateway.base_url}/v1",
        api_key=key,
        max_retries=0,
        http_client=openai.DefaultAsyncHttpxClient(verify=NO_TLS),
    )
    closing.push_async_callback(client.close)
    return Answer(aiter(await client.chat.completions.create(model="fakea", messages=CHAT["messages"], stream=True)))


@asynccontextmanager
async def finished(answers: list[Answer]) -> AsyncIterator[None]:
    try:
        yield
    finally:
        for answer in answers:
            answer.reading.cancel()
        await asyncio.gather(*(answer.reading for answer in answers), return_exceptions=True)


@pytest.mark.promise("A5")
async def test_what_runs_for_a_key_that_is_gone_is_cut_in_time(
    zygote: Zygote, env_file: Path, management: Services, stores: Stores, ollama: FakeOllama
) -> None:
    """By the command line's services or by another writer's plain SQL, in a gateway that is another process."""
    ollama.script = LONG
    revoked, by_sql, suspended, deleted, expired = [await make_tenancy(management) for _ in range(5)]
    sibling = await make_key(management, revoked.tenant)

    async def lose_all() -> None:
        await management.api_keys.revoke(revoked.api_key.prefix, actor="ops", reason="leaked")
        await stores.execute("update api_keys set revoked_at = now() where id = $1", by_sql.api_key.id)
        await stores.execute("update tenants set status = 'suspended' where id = $1", suspended.tenant.id)
        await stores.execute("delete from api_keys where id = $1", deleted.api_key.id)
        await stores.execute("update api_keys set expires_at = now() where id = $1", expired.api_key.id)

    async with gateway_fork(zygote, env_file) as gateway, AsyncExitStack() as closing:
        lost = {
            "this API key was revoked": [
                await by_ollama(gateway, revoked.key, closing),
                await by_openai(gateway, by_sql.key, closing),
            ],
            "the tenant of this API key was suspended": [await by_ollama(gateway, suspended.key, closing)],
            "this API key was deleted": [await by_openai(gateway, deleted.key, closing)],
        }
        cut = [answer for answers in lost.values() for answer in answers]
        going_on = [await by_ollama(gateway, each.key, closing) for each in (sibling, expired)]
        async with finished(cut + going_on), asyncio.timeout(30):
            await asyncio.gather(*(answer.begun.wait() for answer in cut + going_on))
            lost_at = time.monotonic()
            await lose_all()
            await asyncio.gather(*(answer.reading for answer in cut))
            seconds = [answer.ended_at - lost_at for answer in cut]
            before = [answer.parts for answer in going_on]
            await until(lambda: _is(all(now.parts > was for now, was in zip(going_on, before, strict=True))))
            for why, answers in lost.items():
                for answer in answers:
                    assert f"The answer was cut: {why}." in answer.told
            assert max(seconds) <= CUT_SECONDS
            assert not any(answer.reading.done() for answer in going_on)
    for tenancy in (revoked, by_sql, suspended, deleted):
        assert await settled(stores, tenancy) > 0
        rows = await stores.fetch("select outcome, estimated from audit_log where api_key_id = $1", tenancy.api_key.id)
        assert [(row["outcome"], row["estimated"]) for row in rows] == [("cut", True)]
    print(
        f"A5: cut {', '.join(f'{each:.1f}' for each in seconds)} s after the loss (heartbeats of 5 s); 2 others go on"
    )


@pytest.mark.promise("A5")
async def test_an_answer_in_one_piece_is_refused_with_the_reason(stores: Stores, ollama: FakeOllama) -> None:
    ollama.script = Script(gate=asyncio.Event())
    async with live_gateway(stores, ollama.base_url, heartbeat_s=0.1) as gateway, gateway.http() as http:
        tenancy = await make_tenancy(gateway.services)
        asked = asyncio.create_task(http.post("/v1/chat/completions", json=CHAT, headers=tenancy.bearer))
        await ollama.wait_for(lambda: ollama.in_flight == 1)
        await gateway.services.tenants.suspend(tenancy.tenant.name, actor="ops", reason="unpaid")
        answer = await asyncio.wait_for(asked, CUT_SECONDS)
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "answer_cut")
        assert "the tenant of this API key was suspended" in answer.json()["error"]["message"]
        assert answer.headers["x-should-retry"] == "false"
        await ollama.wait_for(lambda: ollama.hits[0].ended is Ended.CALLER_LEFT)


async def test_what_is_cut_while_it_waits_for_its_reservation_is_never_forwarded(
    stores: Stores, ollama: FakeOllama
) -> None:
    ollama.script = Script(tokens=1)
    async with live_gateway(stores, ollama.base_url) as gateway:
        limiter, tenancy = gateway.services.limiter, await make_tenancy(gateway.services)
        async with gateway.http(tenancy.key) as http, asyncio.timeout(20):
            assert (await http.post("/api/chat", json=CHAT)).status_code == httpx.codes.OK
            used = await settled(stores, tenancy)
            async with stores.transaction() as other:
                await other.execute("select 1 from budget_usage for update")
                asked = asyncio.create_task(http.post("/api/chat", json=CHAT))
                await until(lambda: _is(len(limiter.running) == 1))
                assert limiter.cut(lambda _: True, lambda: AnswerCutError("No more.")) == 1
            answer = await asked
            assert (answer.status_code, answer.json()["error"]) == (502, "No more.")
        assert await settled(stores, tenancy) == used
    assert len(ollama.hits) == 1
    rows = await stores.fetch("select outcome, status from audit_log where outcome <> 'completed'")
    assert rows == [{"outcome": "not_forwarded", "status": 502}]


class OddWatch(RevocationWatch):
    """Cannot reach Postgres, then has a defect, then works."""

    looks = 0

    async def look(self) -> int:
        self.looks += 1
        if self.looks == 1:
            raise UnavailableError("away")
        if self.looks == 2:
            raise RuntimeError("nobody thought of this")
        return await super().look()


async def test_nothing_is_asked_while_nothing_runs_and_no_failure_ends_the_watch(
    stores: Stores, ollama: FakeOllama
) -> None:
    ollama.script = LONG
    away = make_database("postgresql+asyncpg://gateway@/gateway?host=/nowhere")
    there = make_database(stores.database_url)
    async with live_gateway(stores, ollama.base_url) as gateway, AsyncExitStack() as closing:
        closing.push_async_callback(there.aclose)
        limiter = gateway.services.limiter
        assert await RevocationWatch(away, limiter).look() == 0
        tenancy = await make_tenancy(gateway.services)
        answer = await by_ollama(gateway, tenancy.key, closing)
        async with finished([answer]), asyncio.timeout(10):
            await answer.begun.wait()
            with pytest.raises(UnavailableError):
                await RevocationWatch(away, limiter).look()
            await gateway.services.api_keys.revoke(tenancy.api_key.prefix, actor="ops", reason="leaked")
            watch = OddWatch(there, limiter, heartbeat_seconds=0.02)
            await watch.start()
            await answer.reading
            await watch.aclose()
        assert "revoked" in answer.told
        assert watch.looks >= 3


async def test_a_watch_that_is_closed_while_it_asks_ends_at_once(stores: Stores, ollama: FakeOllama) -> None:
    ollama.script = LONG
    async with live_gateway(stores, ollama.base_url, heartbeat_s=0.05) as gateway, AsyncExitStack() as closing:
        tenancy = await make_tenancy(gateway.services)
        answer = await by_ollama(gateway, tenancy.key, closing)
        async with finished([answer]), asyncio.timeout(10), stores.transaction() as other:
            await answer.begun.wait()
            await other.execute("lock table api_keys in access exclusive mode")
            await until(lambda: stores.fetch(WAITING))
            started_at = time.monotonic()
            await gateway.services.revocation_watch.aclose()
            assert time.monotonic() - started_at < 1


@pytest.mark.promise("B6", "D1")
async def test_the_answers_of_a_process_that_was_taken_for_dead_are_cut(stores: Stores, ollama: FakeOllama) -> None:
    """They are charged in full by then, so not a byte more is given for it; the process itself serves on."""
    ollama.script = LONG
    async with live_gateway(stores, ollama.base_url, heartbeat_s=1) as gateway, AsyncExitStack() as closing:
        tenancy = await make_tenancy(gateway.services)
        answers = [await by_ollama(gateway, tenancy.key, closing), await by_openai(gateway, tenancy.key, closing)]
        async with finished(answers), asyncio.timeout(20):
            await asyncio.gather(*(answer.begun.wait() for answer in answers))
            reserved = (await usage_of(stores, tenancy))[1]
            await _swept(stores)
            await asyncio.gather(*(answer.reading for answer in answers))
            for answer in answers:
                assert "its reservation was given up for lost, charged in full" in answer.told
            ollama.script = Script(tokens=3)
            async with gateway.http(tenancy.key) as http:
                assert (await http.post("/api/chat", json=CHAT)).status_code == httpx.codes.OK
        used = await settled(stores, tenancy)
        rows = await stores.fetch("select outcome, charged_tokens from audit_log order by charged_tokens desc")
    assert [row["outcome"] for row in rows] == ["abandoned", "abandoned", "completed"]
    assert sum(row["charged_tokens"] for row in rows[:2]) == reserved
    assert sum(row["charged_tokens"] for row in rows) == used


async def _swept(stores: Stores) -> None:
    """What another process does that has not heard of this one for a minute."""
    database = make_database(stores.database_url)
    await stores.execute("update processes set heartbeat_at = heartbeat_at - interval '61 seconds'")
    assert await Ledger(database).abandon(age=timedelta(seconds=60), most=10) == 2
    await database.aclose()


async def _is(holds: bool) -> bool:
    return holds
