"""Gateways whose own clocks are wrong by an hour decide as all others: only the clock of Redis counts (DESIGN §4)."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from neuronetz_gateway.domain.budget import Period
from neuronetz_gateway.domain.limit import Limits
from neuronetz_gateway.wiring import Services
from tests.support.factories import make_key, make_tenancy
from tests.support.fake_ollama import FakeOllama
from tests.support.gateways import GatewayProcess, gateway_process, make_settings, write_env_file
from tests.support.ledgers import until
from tests.support.load import CHAT, statuses_of
from tests.support.stores import Stores

HOUR_SECONDS = 3600
Gateways = dict[int, GatewayProcess]


@pytest.fixture
async def gateways(stores: Stores, ollama: FakeOllama, env_path: Path) -> AsyncIterator[Gateways]:
    """By the error of their clock in seconds."""
    env_file = write_env_file(env_path, make_settings(stores, ollama.base_url))

    def wrong(seconds: int) -> tuple[str, ...]:
        return sys.executable, "-m", "tests.support.shifted_clock", str(seconds)

    async with (
        gateway_process(env_file, command=wrong(HOUR_SECONDS)) as fast,
        gateway_process(env_file, command=wrong(-HOUR_SECONDS)) as slow,
    ):
        yield {HOUR_SECONDS: fast, -HOUR_SECONDS: slow}


def zone_where_it_is(hour: int) -> str:
    """A zone of whole hours in which it is that hour of the day now."""
    ahead = (hour - datetime.now(UTC).hour) % 24
    ahead -= 24 if ahead > 12 else 0
    return f"Etc/GMT{-ahead:+d}" if ahead else "UTC"  # the names count westward


def error_of(gateway: GatewayProcess) -> float:
    """How wrong a gateway's clock is by its own log, in seconds."""
    last = json.loads(gateway.log.read_text().splitlines()[-1])
    return (datetime.fromisoformat(last["time"]) - datetime.now(UTC)).total_seconds()


async def statuses(gateways: Gateways, key: str) -> list[int]:
    answers = []
    for gateway in gateways.values():
        async with gateway.http(key) as http:
            answers.append((await http.post("/api/chat", json=CHAT)).status_code)
    return answers


async def limits_hold(gateways: Gateways, management: Services) -> None:
    limited = await make_tenancy(management, tenant_limits=Limits(rpm=20))
    seen = await statuses_of(list(gateways.values()), limited.key, 100, at_once=20)
    assert seen == {200: 20, 429: 80}
    for error_seconds, gateway in gateways.items():
        async with gateway.http(limited.key) as http:
            refused = await http.post("/api/chat", json=CHAT)
            account = (await http.get("/account")).json()
        assert refused.status_code == 429
        assert 0 < int(refused.headers["retry-after"]) <= 62
        assert abs((datetime.fromisoformat(account["at"]) - datetime.now(UTC)).total_seconds()) < 60
        assert abs(error_of(gateway) - error_seconds) < 60, "its clock is not wrong"


async def keys_expire_when_they_were_to(gateways: Gateways, management: Services) -> None:
    tenant, now = (await make_tenancy(management)).tenant, datetime.now(UTC)
    long_gone = await make_key(management, tenant, expires_at=now - timedelta(minutes=30))
    later = await make_key(management, tenant, expires_at=now + timedelta(minutes=30))
    assert await statuses(gateways, long_gone.key) == [401, 401]
    assert await statuses(gateways, later.key) == [200, 200]
    expires_at = datetime.now(UTC) + timedelta(seconds=3)
    soon = await make_key(management, tenant, expires_at=expires_at)
    assert await statuses(gateways, soon.key) == [200, 200]
    await asyncio.sleep((expires_at - datetime.now(UTC)).total_seconds() + 0.1)
    assert await statuses(gateways, soon.key) == [401, 401]


async def days_are_those_of_the_tenant(gateways: Gateways, management: Services, stores: Stores, hour: int) -> None:
    """In the last hour of a day a fast clock shows the next one, in the first a slow one shows the last."""
    zone = zone_where_it_is(hour)
    tenancy = await make_tenancy(management, budget={Period.DAILY: 1_000_000})
    await stores.execute("update tenants set time_zone = $1 where id = $2", zone, tenancy.tenant.id)
    assert await statuses(gateways, tenancy.key) == [200, 200]

    async def rows() -> list[dict[str, Any]]:
        return await stores.fetch(
            "select day at time zone $1 = date_trunc('day', admitted_at at time zone $1) "
            "and admitted_at between now() - interval '1 minute' and now() as so from audit_log where tenant_id = $2",
            zone,
            tenancy.tenant.id,
        )

    await until(lambda: written(rows))
    assert [row["so"] for row in await rows()] == [True, True]


async def written(rows: Callable[[], Awaitable[list[dict[str, Any]]]]) -> bool:
    return len(await rows()) == 2


@pytest.mark.promise("L8", "L1", "B5")
async def test_an_hour_of_error_changes_no_decision(gateways: Gateways, management: Services, stores: Stores) -> None:
    await asyncio.gather(
        limits_hold(gateways, management),
        keys_expire_when_they_were_to(gateways, management),
        days_are_those_of_the_tenant(gateways, management, stores, 0),
        days_are_those_of_the_tenant(gateways, management, stores, 23),
    )
    print("L8: clocks wrong by +1 h and -1 h: limits, Retry-After, expiry of keys, days of budgets as by the true time")
