"""A key sees its own limits, budgets and usage, whenever it looks, whatever has fired."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

from neuronetz_gateway.domain.budget import Period
from neuronetz_gateway.domain.limit import Limits
from neuronetz_gateway.wiring import Services
from tests.support.factories import Tenancy, make_key, make_tenancy
from tests.support.fake_ollama import FakeOllama, Script
from tests.support.fleet import Member
from tests.support.gateways import LiveGateway
from tests.support.limit_headers import ANTHROPIC, NATIVE, OPENAI, none_of
from tests.support.raw_http import request_bytes, send_raw
from tests.support.stores import Stores

NO_LIMIT = {"limit": None, "left": None, "resets_in_seconds": None}
SERVED = Script(tokens=4, prompt_tokens=20)


async def account(http: httpx.AsyncClient) -> dict[str, Any]:
    answer = await http.get("/account")
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def settled(stores: Stores, tenancy: Tenancy) -> None:
    async with asyncio.timeout(10):
        while await stores.fetch("select 1 from reservations where tenant_id = $1", tenancy.tenant.id):
            await asyncio.sleep(0.02)


async def test_a_new_key_sees_all_that_it_may(gateway: LiveGateway) -> None:
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    tenancy = await make_tenancy(
        gateway.services,
        tenant_limits=Limits(rpm=60, tpm=9_000, output_cap=500),
        key_limits=Limits(rpm=5, concurrent=2),
        models=["fakea:latest", "fakeb:latest"],
        key_models=["fakeb:latest", "qwen3:8b"],
        may_load_models=True,
        budget={Period.DAILY: 1_000},
        expires_at=end,
    )
    async with gateway.http(tenancy.key) as http:
        answer = await http.get("/account")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert "x-request-id" in answer.headers
    assert none_of(answer.headers)
    shown = answer.json()
    at = datetime.fromisoformat(shown.pop("at"))
    assert abs((datetime.now(UTC) - at).total_seconds()) < 60
    today = at.replace(hour=0, minute=0, second=0, microsecond=0)
    month = today.replace(day=1)
    next_month = (month + timedelta(days=32)).replace(day=1)

    def budget(limit: int | None, start: datetime, end: datetime | None) -> dict[str, Any]:
        return {
            "limit_tokens": limit, "used_tokens": 0, "reserved_tokens": 0, "left_tokens": limit,
            "window_start": iso(start), "resets_at": None if end is None else iso(end),
        }  # fmt: skip

    def budgets(daily: int | None) -> dict[str, Any]:
        return {
            "daily": budget(daily, today, today + timedelta(days=1)),
            "monthly": budget(None, month, next_month),
            "total": budget(None, datetime.fromtimestamp(0, UTC), None),
        }

    assert shown == {
        "key": {"name": tenancy.api_key.name, "prefix": tenancy.api_key.prefix, "expires_at": iso(end)},
        "tenant": {"name": tenancy.tenant.name, "time_zone": "UTC"},
        "allow_all_models": False,
        "models": ["fakeb:latest"],
        "permissions": {"load_models": True},
        "policy": {
            "max_keep_alive_seconds": 0,
            "max_num_ctx": 0,
            "max_images": 64,
            "max_embedding_inputs": 2048,
            "max_logprobs": 20,
            "allow_raw": False,
            "allow_context": True,
        },
        "limits": {
            "tenant": {
                "rpm": {"limit": 60, "left": 60, "resets_in_seconds": 0},
                "tpm": {"limit": 9_000, "left": 9_000, "resets_in_seconds": 0},
                "concurrent": NO_LIMIT,
                "output_cap": 500,
            },
            "key": {
                "rpm": {"limit": 5, "left": 5, "resets_in_seconds": 0},
                "tpm": NO_LIMIT,
                "concurrent": {"limit": 2, "left": 2, "resets_in_seconds": None},
                "output_cap": None,
            },
        },
        "budgets": {"tenant": budgets(1_000), "key": budgets(None)},
        "usage_today": {"date": at.date().isoformat(), "time_zone": "UTC", "models": []},
    }


def iso(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


@pytest.mark.promise("L7", "A12")
async def test_what_was_used_is_seen_by_its_own_key_alone(
    gateway: LiveGateway, ollama: FakeOllama, stores: Stores
) -> None:
    """The tenant's limits and budgets are shown with what all its keys used of them, since they bind this key too."""
    ollama.script = SERVED
    limits = Limits(rpm=50, tpm=90_000, concurrent=9)
    one = await make_tenancy(gateway.services, tenant_limits=limits, key_limits=limits, budget={Period.TOTAL: 50_000})
    other = await make_key(gateway.services, one.tenant, limits=limits)
    stranger = await make_tenancy(gateway.services, tenant_limits=limits)
    for tenancy, tongues in ((one, (NATIVE, OPENAI, ANTHROPIC)), (other, (NATIVE,)), (stranger, (OPENAI, OPENAI))):
        async with gateway.http(tenancy.key) as http:
            for tongue in tongues:
                model = "fakea" if tenancy is one else "fakeb"
                assert (await http.post(tongue.path, json=tongue.body() | {"model": model})).status_code == 200
    for tenancy in (one, stranger):
        await settled(stores, tenancy)
    async with gateway.http(one.key) as http:
        answer = await http.get("/account")
    shown = answer.json()
    assert shown["usage_today"]["models"] == [
        {"model": "fakea:latest", "requests": 3, "prompt_tokens": 60, "output_tokens": 12, "charged_tokens": 72}
    ]
    assert [shown["limits"][scope]["rpm"]["left"] for scope in ("key", "tenant")] == [47, 46]
    assert [shown["limits"][scope]["tpm"]["left"] for scope in ("key", "tenant")] == [90_000 - 72, 90_000 - 96]
    assert [shown["limits"][scope]["concurrent"]["left"] for scope in ("key", "tenant")] == [9, 9]
    assert [shown["budgets"][scope]["total"]["used_tokens"] for scope in ("key", "tenant")] == [72, 96]
    assert shown["budgets"]["tenant"]["total"]["left_tokens"] == 50_000 - 96
    assert 0 < shown["limits"]["key"]["rpm"]["resets_in_seconds"] <= 61
    for foreign in (other, stranger):
        assert foreign.api_key.prefix not in answer.text
        assert foreign.api_key.name not in answer.text.split('"')
    assert stranger.tenant.name not in answer.text.split('"')
    for secret in (one.key, one.tenant.id, one.api_key.id, other.api_key.id):
        assert str(secret) not in answer.text


async def test_a_list_of_models_is_shown_as_a_request_for_none(gateway: LiveGateway, stores: Stores) -> None:
    """It stood there as one for the model "", which reads as a defect."""
    tenancy = await make_tenancy(gateway.services)
    async with gateway.http(tenancy.key) as http:
        assert (await http.get("/v1/models")).status_code == 200
        await settled(stores, tenancy)
        shown = await account(http)
    [listed] = shown["usage_today"]["models"]
    assert (listed["model"], listed["requests"], listed["charged_tokens"]) == (None, 1, 0)


async def test_what_is_under_way_is_seen_as_held(gateway: LiveGateway, ollama: FakeOllama, stores: Stores) -> None:
    tenancy = await make_tenancy(gateway.services, key_limits=Limits(concurrent=3, tpm=9_000))
    ollama.script = gated = Script(gate=asyncio.Event())
    async with gateway.http(tenancy.key) as http:
        asked = asyncio.create_task(http.post(OPENAI.path, json=OPENAI.body()))
        await ollama.wait_for(lambda: ollama.in_flight == 1)
        during = await account(http)
        assert gated.gate is not None
        gated.gate.set()
        await asked
        await settled(stores, tenancy)
        after = await account(http)
    assert during["limits"]["key"]["concurrent"]["left"] == 2
    assert during["budgets"]["key"]["daily"]["reserved_tokens"] > 10
    assert during["usage_today"]["models"] == []
    assert during["limits"]["key"]["tpm"]["left"] < after["limits"]["key"]["tpm"]["left"]
    assert after["limits"]["key"]["concurrent"]["left"] == 3
    assert after["budgets"]["key"]["daily"]["reserved_tokens"] == 0


@pytest.mark.promise("L2")
async def test_looking_is_never_limited_and_costs_nothing(gateway: LiveGateway, stores: Stores) -> None:
    tenancy = await make_tenancy(gateway.services, key_limits=Limits(rpm=1, concurrent=1), budget={Period.TOTAL: 5_000})
    async with gateway.http(tenancy.key) as http:
        assert (await http.post(NATIVE.path, json=NATIVE.body())).status_code == 200
        assert (await http.post(NATIVE.path, json=NATIVE.body())).status_code == 429
        await gateway.services.budgets.set_for_tenant(tenancy.tenant.name, {Period.TOTAL: 1})
        await settled(stores, tenancy)
        looks = [await account(http) for _ in range(5)]
    for shown in looks:
        shown.pop("at")
        left = shown["limits"]["key"]["rpm"].pop("resets_in_seconds")
        assert 50 < left <= 61
        assert shown == looks[0]
    assert looks[0]["limits"]["key"]["rpm"]["left"] == 0
    assert looks[0]["budgets"]["tenant"]["total"]["left_tokens"] == 0
    rows = await stores.fetch("select endpoint from audit_log where tenant_id = $1", tenancy.tenant.id)
    assert {row["endpoint"] for row in rows} == {"/api/chat"}  # a look is no request to a model


CHANGES = {
    "revoke": ("update api_keys set revoked_at = now() where id = $1", 401),
    "expire": ("update api_keys set expires_at = now() where id = $1", 401),
    "suspend": ("update tenants set status = 'suspended' where id = $1", 403),
}


@pytest.mark.promise("A4")
async def test_a_change_is_seen_at_the_next_look_on_every_process(
    two_gateways: tuple[Member, Member], management: Services, stores: Stores
) -> None:
    """Nothing reserves here, so that the look itself compares the versions; the caches are warm."""
    for name, (statement, status) in CHANGES.items():
        tenancy = await make_tenancy(management)
        sought = tenancy.tenant.id if name == "suspend" else tenancy.api_key.id
        await _expect(two_gateways, tenancy, 200)
        await stores.execute(statement, sought)
        await _expect(two_gateways, tenancy, status)
    tenancy = await make_tenancy(management, key_limits=Limits(rpm=9))
    await _expect(two_gateways, tenancy, 200)
    await stores.execute("update key_limits set rpm = 4 where api_key_id = $1", tenancy.api_key.id)
    for answer in await _expect(two_gateways, tenancy, 200):
        assert answer.json()["limits"]["key"]["rpm"]["limit"] == 4


async def _expect(gateways: tuple[Member, Member], tenancy: Tenancy, status: int) -> list[httpx.Response]:
    answers = []
    for gateway in gateways:
        async with gateway.http(tenancy.key) as http:
            answers.append(await http.get("/account"))
    assert [answer.status_code for answer in answers] == [status, status]
    return answers


@pytest.mark.promise("A3")
async def test_a_key_whose_time_is_over_is_a_bad_key(gateway: LiveGateway) -> None:
    end = datetime.now(UTC) + timedelta(seconds=1.5)
    tenancy = await make_tenancy(gateway.services, expires_at=end)
    async with gateway.http(tenancy.key) as http:
        assert (await http.get("/account")).status_code == 200
        await asyncio.sleep((end - datetime.now(UTC)).total_seconds() + 0.01)
        late = await http.get("/account")
        bad = await http.get("/account", headers={"authorization": "Bearer nz_" + "A" * 41})
    assert (late.status_code, late.content) == (bad.status_code, bad.content) == (401, bad.content)


@pytest.mark.promise("A1")
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"])
async def test_only_get_exists(gateway: LiveGateway, method: str) -> None:
    tenancy = await make_tenancy(gateway.services)
    answer = await send_raw(gateway.base_url, request_bytes(method, "/account", key=tenancy.key))
    assert answer.status == 404


@pytest.mark.promise("A1", "A3")
@pytest.mark.parametrize(
    "headers",
    [{}, {"authorization": "Bearer hello"}, {"x-api-key": "nz_" + "A" * 41}],
    ids=["none", "bad", "x-api-key"],
)
async def test_without_a_good_bearer_key_nothing_is_shown(gateway: LiveGateway, headers: dict[str, str]) -> None:
    tenancy = await make_tenancy(gateway.services)
    if "x-api-key" in headers:
        headers = {"x-api-key": tenancy.key}  # an older Anthropic SDK's way, on /v1/messages alone (DESIGN §3)
    async with gateway.http() as http:
        answer = await http.get("/account", headers=headers)
    assert answer.status_code == 401
    assert answer.json() == {"error": "Invalid API key. Send a valid key as 'Authorization: Bearer nz_...'."}
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", ["/account/", "/Account", "//account", "/account%20", "/accounts", "/v1/account"])
async def test_no_other_spelling_exists(gateway: LiveGateway, path: str) -> None:
    tenancy = await make_tenancy(gateway.services)
    assert (await send_raw(gateway.base_url, request_bytes("GET", path, key=tenancy.key))).status == 404


async def test_looks_are_counted_by_their_path(gateway: LiveGateway, ollama: FakeOllama) -> None:
    tenancy = await make_tenancy(gateway.services)
    async with gateway.http(tenancy.key) as http:
        await account(http)
        await http.get("/account", headers={"authorization": "Bearer no"})
        assert not ollama.requests
        metrics = (await http.get("/metrics")).text
    assert any('"/account"' in line and 'outcome="completed"' in line for line in metrics.splitlines())
    assert any('"/account"' in line and 'status="401"' in line for line in metrics.splitlines())


async def test_the_day_is_that_of_the_tenant(gateway: LiveGateway, ollama: FakeOllama, stores: Stores) -> None:
    ollama.script = SERVED
    tenancy = await make_tenancy(gateway.services)
    zone = ZoneInfo("Pacific/Kiritimati")  # 14 hours ahead of UTC
    await stores.execute("update tenants set time_zone = $1 where id = $2", zone.key, tenancy.tenant.id)
    midnight = datetime.now(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    async with gateway.http(tenancy.key) as http:
        for _ in range(2):
            await http.post(NATIVE.path, json=NATIVE.body())
        await settled(stores, tenancy)
        await stores.execute(
            """update audit_log set admitted_at = $1 where id =
               (select id from audit_log where tenant_id = $2 order by admitted_at limit 1)""",
            midnight - timedelta(seconds=1),
            tenancy.tenant.id,
        )
        shown = await account(http)
    assert shown["usage_today"]["date"] == midnight.date().isoformat()
    assert shown["usage_today"]["time_zone"] == shown["tenant"]["time_zone"] == zone.key
    assert [usage["requests"] for usage in shown["usage_today"]["models"]] == [1]
    assert shown["budgets"]["key"]["daily"]["window_start"] == iso(midnight.astimezone(UTC))
