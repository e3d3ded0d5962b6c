"""Failures without a principal are counted: by address and reason, a minute a row, none lost, the disk never full."""

import asyncio
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.factories import make_key, make_tenancy
from tests.support.fake_ollama import FakeOllama
from tests.support.flood import flood
from tests.support.forks import Zygote
from tests.support.gateways import GatewayProcess, gateway_fork, live_gateway, make_settings, write_env_file
from tests.support.load import CHAT
from tests.support.stores import Stores

KINDS = (  # what strangers do, with the reason under which it is counted
    (b"POST /api/chat", b"authorization: Bearer nz_A1b2C3d4E" + b"s" * 32, "invalid_api_key"),
    (b"GET /v1/models", b"x-nothing: 1", "invalid_api_key"),
    (b"DELETE /api/delete", b"x-nothing: 1", "endpoint_blocked"),
    (b"GET /.env", b"x-nothing: 1", "unknown_endpoint"),
)
SPREAD, FEW = 100_000, 100


def requests_of(count: int, addresses: int) -> Iterator[bytes]:
    """From as many addresses, one after the other, again and again; after the first 100,000 from a hundred of them."""
    for number in range(count):
        target, header, _ = KINDS[number % len(KINDS)]
        place = number % (addresses if number < SPREAD else FEW)
        address = b"198.%d.%d.%d" % (18 + place // 65_536, place // 256 % 256, place % 256)
        yield (
            target + b" HTTP/1.1\r\nhost: gateway\r\ncontent-length: 0\r\nuser-agent: scanner\r\nx-forwarded-for: "
            + address + b"\r\n" + header + b"\r\n\r\n"
        )  # fmt: skip


@pytest.mark.promise("D6")
@pytest.mark.parametrize(
    ("count", "addresses"),
    [
        pytest.param(3_000, 1_500, id="3,000"),
        pytest.param(1_000_000, 100_000, id="1,000,000", marks=[pytest.mark.full, pytest.mark.timeout(1800)]),
    ],
)
async def test_unauthenticated_requests_leave_few_rows_and_none_is_lost_in_count(
    zygote: Zygote, stores: Stores, ollama: FakeOllama, tmp_path: Path, count: int, addresses: int
) -> None:
    settings = make_settings(stores, ollama.base_url, trusted_proxies="127.0.0.1/32", log_level="warning")
    env_file = write_env_file(tmp_path / "gateway.env", settings)
    async with gateway_fork(zygote, env_file) as gateway:
        before = resident_mib(gateway)
        begun = time.monotonic()
        seen = await flood(gateway.base_url, requests_of(count, addresses), connections=64)
        seconds = time.monotonic() - begun
        after = resident_mib(gateway)
    rows = await stores.fetch("select * from audit_log")
    told = sum(row["occurrences"] for row in rows)
    print(
        f"D6: {sum(seen.values()):,} requests of {addresses:,} addresses in {seconds:.0f} s: {len(rows):,} rows "
        f"that count {told:,}; memory {before} -> {after} MiB"
    )
    assert sum(seen.values()) == told == count
    assert set(seen) <= {401, 403, 404, 429}
    assert len(rows) <= 10_000
    assert all(row["tenant_id"] is row["api_key_id"] is None for row in rows)
    assert {row["outcome"] for row in rows} == {"refused"}
    by_reason = {row["reason"] for row in rows}
    assert {reason for *_, reason in KINDS} <= by_reason
    assert any(row["address"] == "other" for row in rows)
    assert len({(row["writer"], row["sequence"]) for row in rows}) == len(rows)
    assert not ollama.requests


async def test_a_row_tells_what_its_requests_have_in_common(stores: Stores, ollama: FakeOllama) -> None:
    async with live_gateway(stores, ollama.base_url, trusted_proxies="127.0.0.1/32") as gateway, gateway.http() as http:
        for number in range(3):
            mine = {"x-forwarded-for": "192.0.2.7", "user-agent": "sdk/1", "x-request-id": f"mine-{number}"}
            assert (await http.post("/api/chat", json=CHAT, headers=mine)).status_code == 401
        for number in range(2):
            scan = {"x-forwarded-for": f"2001:db8::{number + 1}", "user-agent": f"scan/{number}"}
            assert (await http.get(f"/v1/../secret-{number}", headers=scan)).status_code == 404
            assert (await http.post("/api/pull", headers=scan)).status_code == 403
        assert (await http.get("/healthz")).status_code == 200
        assert (await http.post("/healthz")).status_code == 404
        assert not await stores.fetch("select 1 from audit_log"), "a minute is not over yet"
    rows = {row["reason"] + " " + row["address"]: row for row in await stores.fetch("select * from audit_log")}
    assert {name: row["occurrences"] for name, row in rows.items()} == {
        "invalid_api_key 192.0.2.7": 3, "unknown_endpoint 2001:db8::/64": 2, "endpoint_blocked 2001:db8::/64": 2,
        "unknown_endpoint 127.0.0.1": 1,
    }  # fmt: skip
    unknown = rows["invalid_api_key 192.0.2.7"]
    assert (unknown["endpoint"], unknown["user_agent"], unknown["request_id"]) == ("/api/chat", "sdk/1", "mine-0")
    scanned, blocked = rows["unknown_endpoint 2001:db8::/64"], rows["endpoint_blocked 2001:db8::/64"]
    assert (scanned["endpoint"], scanned["user_agent"]) == ("", "")
    assert (blocked["endpoint"], blocked["status"]) == ("/api/pull", 403)


async def test_an_address_with_too_many_bad_keys_is_counted_under_its_own_reason(
    stores: Stores, ollama: FakeOllama
) -> None:
    async with live_gateway(stores, ollama.base_url, auth_failures_per_minute=3) as gateway, gateway.http() as http:
        statuses = [(await http.get("/api/tags")).status_code for _ in range(5)]
    assert statuses == [401, 401, 401, 429, 429]
    rows = await stores.fetch("select reason, status, occurrences from audit_log order by status")
    assert [tuple(row.values()) for row in rows] == [("invalid_api_key", 401, 3), ("address.failures", 429, 2)]


@pytest.mark.promise("A7")
async def test_a_key_in_the_wrong_place_is_not_written_down(stores: Stores, ollama: FakeOllama) -> None:
    """Whoever pastes a key into the address or names its program after it has shown it to log and audit."""
    async with live_gateway(stores, ollama.base_url) as gateway:
        tenancy = await make_tenancy(gateway.services)
        async with gateway.http() as http:
            await http.get(f"/v1/{tenancy.key}/models", headers={"user-agent": f"sdk {tenancy.key}"})
            await http.get("/api/tags", headers={"user-agent": tenancy.key, "authorization": f"Bearer {tenancy.key}"})
    rows = await stores.fetch("select * from audit_log")
    assert len(rows) == 2
    assert tenancy.key[12:] not in str(rows)
    assert "/v1/nz_.../models" in {row["endpoint"] for row in rows}


async def test_a_key_that_is_refused_without_end_shares_rows_and_its_tenant_is_known(
    stores: Stores, ollama: FakeOllama
) -> None:
    async with live_gateway(stores, ollama.base_url, audit_refusals_per_minute=5) as gateway:
        tenancy = await make_tenancy(gateway.services, models=["fakea:latest"])
        other = await make_key(gateway.services, tenancy.tenant)
        async with gateway.http(tenancy.key) as http:
            for _ in range(40):
                assert (await http.post("/api/chat", json={**CHAT, "model": "fakeb"})).status_code == 403
                assert (await http.post("/api/generate", json={"model": 7})).status_code == 400
        async with gateway.http(other.key) as http:
            assert (await http.post("/api/chat", json={**CHAT, "model": "fakeb"})).status_code == 403
    rows = await stores.fetch("select * from audit_log")
    assert sum(row["occurrences"] for row in rows) == 81
    assert len(rows) <= 5 + 2 + 2 + 1  # a minute may have ended meanwhile
    assert {row["tenant_id"] for row in rows} == {tenancy.tenant.id}
    shared = [row for row in rows if row["occurrences"] > 1]
    assert {(row["endpoint"], row["status"], row["reason"], row["model"]) for row in shared} == {
        ("/api/chat", 403, "model_not_allowed", "fakeb:latest"), ("/api/generate", 400, "invalid_request", ""),
    }  # fmt: skip


async def test_what_is_counted_is_written_at_the_end_of_the_process_and_of_the_minute(
    zygote: Zygote, env_file: Path, stores: Stores
) -> None:
    async with gateway_fork(zygote, env_file) as gateway, gateway.http() as http:
        assert (await http.get("/api/tags")).status_code == 401
        gateway.process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(gateway.process.wait(), 30)
    rows = await stores.fetch("select occurrences from audit_log")
    assert [row["occurrences"] for row in rows] == [1]


def resident_mib(gateway: GatewayProcess) -> int:
    """0 where the system does not tell."""
    status = Path(f"/proc/{gateway.process.pid}/status")
    if not status.exists():
        return 0
    lines: dict[str, Any] = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(lines["VmRSS"].split()[0]) // 1024
