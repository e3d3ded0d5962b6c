"""What a scrape says of the gateway's own state: dependencies, stores, event loop, budgets, the unsigned audit."""

import re
import time
from datetime import UTC, datetime

import pytest

from neuronetz_gateway.domain.budget import Period, windows_at
from tests.gateway.test_metrics import check_labels
from tests.support.factories import Tenancy, make_tenancy
from tests.support.gateways import LiveGateway, free_port, live_gateway
from tests.support.load import CHAT
from tests.support.stores import Stores

_ZONE = "Pacific/Kiritimati"  # where it is tomorrow for most of the day


def value_of(page: str, series: str) -> float:
    found = re.search(rf"^{re.escape(series)} (\S+)$", page, re.MULTILINE)
    assert found, f"{series} is not on the page"
    return float(found[1])


async def scrape(gateway: LiveGateway) -> str:
    async with gateway.http() as http:
        page = (await http.get("/metrics")).text
    check_labels(page)
    return page


async def use(stores: Stores, tenancy: Tenancy, zone: str, tokens: int) -> None:
    """So many tokens of each budget of a tenant, as if requests had used them."""
    windows = windows_at(datetime.now(UTC), zone)
    async with stores.transaction() as connection:
        await connection.execute("update tenants set time_zone = $1 where id = $2", zone, tenancy.tenant.id)
        await connection.executemany(
            "insert into budget_usage (tenant_id, scope_id, period, window_start, used, reserved) "
            "values ($1, $1, $2, $3, $4, 1)",
            [(tenancy.tenant.id, period.value, windows.start(period), tokens - 1) for period in Period],
        )


async def test_a_scrape_says_how_loop_stores_and_dependencies_are(gateway: LiveGateway) -> None:
    tenancy = await make_tenancy(gateway.services)
    async with gateway.http(tenancy.key) as http:
        assert (await http.post("/api/chat", json=CHAT)).status_code == 200
    page = await scrape(gateway)
    for name in ("postgres", "redis", "ollama"):
        assert value_of(page, f'neuronetz_dependency_up{{dependency="{name}"}}') == 1
    assert value_of(page, 'neuronetz_ledger_seconds_count{operation="reserve"}') == 1
    assert value_of(page, 'neuronetz_ledger_seconds_sum{operation="reserve"}') > 0
    assert value_of(page, "neuronetz_redis_seconds_count") > 0
    assert value_of(page, "neuronetz_settlements_waiting") in {0, 1}  # as it was at the last tick
    assert value_of(page, 'neuronetz_events_total{event="abandoned"}') == 0  # there before it happens
    late = 'neuronetz_loop_lag_seconds_bucket{le="0.25"}'
    in_time = value_of(page, late) - value_of(page, "neuronetz_loop_lag_seconds_count")
    time.sleep(0.5)  # noqa: ASYNC251 - the gateway lives in the loop of this test
    page = await scrape(gateway)
    assert value_of(page, late) - value_of(page, "neuronetz_loop_lag_seconds_count") <= in_time - 1


async def test_what_is_away_is_told_as_such(stores: Stores) -> None:
    async with live_gateway(stores, f"http://127.0.0.1:{free_port()}") as gateway:
        page = await scrape(gateway)
    assert value_of(page, 'neuronetz_dependency_up{dependency="ollama"}') == 0
    assert value_of(page, 'neuronetz_dependency_up{dependency="postgres"}') == 1


@pytest.mark.promise("P2")
async def test_budgets_near_their_end_are_counted_without_a_name(gateway: LiveGateway, stores: Stores) -> None:
    every = dict.fromkeys(Period, 1000)
    for tokens, zone in ((10, "UTC"), (800, "UTC"), (950, _ZONE), (1000, "UTC"), (5000, _ZONE)):
        await use(stores, await make_tenancy(gateway.services, budget={**every}), zone, tokens)
    closed = await make_tenancy(gateway.services, budget={Period.DAILY: 0})
    suspended = await make_tenancy(gateway.services, budget={Period.DAILY: 1})
    for tenancy in (closed, suspended):
        await use(stores, tenancy, "UTC", 1)
    await gateway.services.tenants.suspend(suspended.tenant.name, actor="test", reason="test")
    page = await scrape(gateway)
    for period in Period:
        found = [
            value_of(page, f'neuronetz_budgets{{period="{period.value}",used_percent="{percent}"}}')
            for percent in (80, 95, 100)
        ]
        assert found == [4, 3, 2], period
    await use(stores, await make_tenancy(gateway.services, budget={**every}), "UTC", 900)
    again = await scrape(gateway)
    assert value_of(again, 'neuronetz_budgets{period="total",used_percent="80"}') == 4, "looked again within a minute"


async def test_rows_that_wait_for_their_checkpoint_have_an_age(gateway: LiveGateway, stores: Stores) -> None:
    tenancy = await make_tenancy(gateway.services)
    overview = gateway.services.self_observer.overview
    assert value_of(await scrape(gateway), "neuronetz_audit_unsigned_seconds") == 0
    async with gateway.http(tenancy.key) as http:
        await http.post("/api/chat", json=CHAT)
        await gateway.services.ledger._settling.drain()
        await gateway.services.chains.checkpoints.write()
        await stores.execute("update audit_checkpoints set at = at - interval '1 hour'")
        await overview._look_around()
        assert value_of(await scrape(gateway), "neuronetz_audit_unsigned_seconds") == 0
        await http.post("/api/chat", json=CHAT)
        await gateway.services.ledger._settling.drain()
    await overview._look_around()
    assert 3600 <= value_of(await scrape(gateway), "neuronetz_audit_unsigned_seconds") < 3700


async def test_a_look_that_postgres_does_not_answer_is_counted_and_holds_no_scrape_up(stores: Stores) -> None:
    nowhere = Stores(stores.database_url.replace("/test_", "/no_such_test_"), stores.redis_url)
    async with live_gateway(nowhere, f"http://127.0.0.1:{free_port()}") as gateway:
        page = await scrape(gateway)
    assert value_of(page, 'neuronetz_events_total{event="overview_failed"}') == 1
    assert value_of(page, 'neuronetz_dependency_up{dependency="postgres"}') == 0
