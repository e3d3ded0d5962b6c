"""What reaches the model stays under every limit, however many ask at once, over however many processes."""

import asyncio

import pytest

from neuronetz_gateway.domain.budget import Period
from neuronetz_gateway.domain.limit import Limits
from neuronetz_gateway.wiring import Services
from tests.support.factories import make_tenancy
from tests.support.fake_ollama import FakeOllama, Script
from tests.support.fleet import Member
from tests.support.gateways import LiveGateway
from tests.support.load import CHAT, leave_at_random, statuses_of


@pytest.mark.promise("L1")
async def test_exactly_sixty_of_a_crowd_pass_one_process(gateway: LiveGateway, ollama: FakeOllama) -> None:
    tenancy = await make_tenancy(gateway.services, key_limits=Limits(rpm=60))
    seen = await statuses_of([gateway], tenancy.key, 500)
    assert seen == {200: 60, 429: 440}
    assert len(ollama.hits) == 60


@pytest.mark.promise("L1")
async def test_exactly_sixty_of_a_crowd_pass_two_processes(
    two_gateways: tuple[Member, Member], management: Services, ollama: FakeOllama
) -> None:
    tenancy = await make_tenancy(management, tenant_limits=Limits(rpm=60))
    seen = await statuses_of(two_gateways, tenancy.key, 1000)
    assert seen == {200: 60, 429: 940}
    assert len(ollama.hits) == 60


@pytest.mark.promise("L4")
async def test_concurrency_holds_over_two_processes_while_callers_leave(
    two_gateways: tuple[Member, Member], management: Services, ollama: FakeOllama
) -> None:
    ollama.script = Script(tokens=5, gap_seconds=0.005)
    tenancy = await make_tenancy(management, key_limits=Limits(concurrent=4))
    await asyncio.gather(
        *(
            leave_at_random(gateway, tenancy.key, 200, seed=seed, within_seconds=0.2)
            for seed, gateway in enumerate(two_gateways)
        )
    )
    assert 0 < ollama.max_in_flight <= 4
    await ollama.wait_idle()
    await _until_no_leases(management, tenancy.tenant.id.hex)
    async with two_gateways[0].http(tenancy.key) as http:  # nothing leaked: all four places are free
        ollama.script = gated = Script(gate=asyncio.Event())
        asked = [asyncio.create_task(http.post("/api/chat", json=CHAT)) for _ in range(4)]
        await ollama.wait_for(lambda: ollama.in_flight == 4)
        refused = await http.post("/api/chat", json=CHAT)
        assert gated.gate is not None
        gated.gate.set()
        assert [answer.status_code for answer in await asyncio.gather(*asked)] == [200] * 4
    assert refused.status_code == 429
    assert "4 requests at once (key.concurrent)" in refused.json()["error"]


@pytest.mark.promise("L2")
@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({**CHAT, "model": "nobody:has"}, 404),  # went up, generated nothing: costs a request, no tokens
        ({**CHAT, "messages": "none"}, 400),
        ({**CHAT, "model": "x@y"}, 400),
    ],
)
async def test_a_request_that_was_refused_holds_no_tokens(
    gateway: LiveGateway, body: dict[str, object], status: int
) -> None:
    tenancy = await make_tenancy(gateway.services, key_limits=Limits(tpm=5000, rpm=100))
    async with gateway.http(tenancy.key) as http:
        for _ in range(10):  # ten estimates would not fit
            assert (await http.post("/api/chat", json=body)).status_code == status
        assert (await http.post("/api/chat", json={**CHAT, "options": {"num_predict": 4000}})).status_code == 200


@pytest.mark.promise("L2")
async def test_a_budget_refusal_gives_the_rate_admission_back(gateway: LiveGateway, ollama: FakeOllama) -> None:
    tenancy = await make_tenancy(gateway.services, key_limits=Limits(rpm=2, concurrent=1))
    await gateway.services.budgets.set_for_tenant(tenancy.tenant.name, {Period.TOTAL: 1})
    async with gateway.http(tenancy.key) as http:
        for _ in range(5):
            answer = await http.post("/api/chat", json=CHAT)
            assert (answer.status_code, "total token budget" in answer.text) == (429, True)
        await gateway.services.budgets.set_for_tenant(tenancy.tenant.name, {Period.TOTAL: None})
        assert [(await http.post("/api/chat", json=CHAT)).status_code for _ in range(3)] == [200, 200, 429]
    assert len(ollama.hits) == 2


@pytest.mark.promise("L6")
async def test_every_refusal_names_limit_rest_and_return(gateway: LiveGateway) -> None:
    tenancy = await make_tenancy(gateway.services, tenant_limits=Limits(rpm=1), key_limits=Limits(rpm=5))
    async with gateway.http(tenancy.key) as http:
        await http.post("/api/chat", json=CHAT)
        answer = await http.post("/api/chat", json=CHAT)
    assert answer.status_code == 429
    assert "this tenant: 1 request a minute (tenant.rpm); 0 left" in answer.json()["error"]
    seconds, milliseconds = int(answer.headers["retry-after"]), int(answer.headers["retry-after-ms"])
    assert 59 <= seconds <= 61
    assert seconds * 1000 - 1000 < milliseconds <= seconds * 1000


async def test_a_request_larger_than_the_whole_limit_is_told_so(gateway: LiveGateway) -> None:
    tenancy = await make_tenancy(gateway.services, key_limits=Limits(tpm=1000))
    async with gateway.http(tenancy.key) as http:
        answer = await http.post("/api/chat", json={**CHAT, "options": {"num_predict": 2000}})
        assert answer.status_code == 400
        assert "1,000 tokens a minute (key.tpm)" in answer.json()["error"]
        assert (await http.post("/api/chat", json=CHAT)).status_code == 200  # without a cap it gets one that fits


async def _until_no_leases(services: Services, tenant: str) -> None:
    async with asyncio.timeout(5):
        while await services.redis.call("ZCARD", f"nz:{{{tenant}}}:leases"):
            await asyncio.sleep(0.02)


@pytest.mark.promise("A4")
async def test_a_raised_limit_lets_the_next_request_in(gateway: LiveGateway, ollama: FakeOllama) -> None:
    """A limit refuses before the ledger is asked, so nobody noticed that the refusing figure had been raised: a key
    that had hit its limit stayed refused until this process forgot it, up to a minute later."""
    tenancy = await make_tenancy(gateway.services, key_limits=Limits(rpm=1, tpm=9000))
    prefix = tenancy.api_key.prefix
    async with gateway.http(tenancy.key) as http:
        assert (await http.post("/api/chat", json=CHAT)).status_code == 200
        await gateway.services.api_keys.set_limits(prefix, {"rpm": 3})
        async with asyncio.timeout(3):  # promised within a tenth of a second
            while (await http.post("/api/chat", json=CHAT)).status_code != 200:
                pass
        large = {**CHAT, "options": {"num_predict": 100_000}, "messages": CHAT["messages"] * 1000}
        beyond = await http.post("/v1/chat/completions", json=large)
        assert (beyond.status_code, beyond.json()["error"]["code"]) == (400, "request_beyond_limit")
        await gateway.services.api_keys.set_limits(prefix, {"tpm": None})
        assert (await http.post("/v1/chat/completions", json=large)).status_code == 200
    assert len(ollama.hits) == 3


@pytest.mark.promise("L9")
async def test_a_tenant_at_twenty_times_its_limit_costs_another_nothing(
    gateway: LiveGateway, ollama: FakeOllama
) -> None:
    ollama.script = Script(tokens=3, gap_seconds=0.002)
    greedy = await make_tenancy(gateway.services, tenant_limits=Limits(rpm=30, tpm=5_000_000, concurrent=4))
    modest = await make_tenancy(gateway.services, tenant_limits=Limits(rpm=60, concurrent=2))
    crowd = asyncio.create_task(statuses_of([gateway], greedy.key, 20 * 30, at_once=40))
    async with gateway.http(modest.key) as http:
        answers = [(await http.post("/api/chat", json=CHAT)).status_code for _ in range(60)]
    seen = await crowd
    print(f"L9: {seen[429]} refusals of a tenant at 20 times its limit, {len(answers) - answers.count(200)} of another")
    assert answers == [200] * 60
    assert seen[200] <= 30
    assert seen[429] == 600 - seen[200]
