"""A model that loads for minutes says nothing: no time-out but its own may take that for an end."""

import asyncio
import contextlib
import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from neuronetz_gateway.domain.limit import Limits
from neuronetz_gateway.http.caller_connection import CallerConnection
from neuronetz_gateway.wiring import Services
from tests.gateway.test_budgeting import settled
from tests.support.factories import Tenancy, make_tenancy
from tests.support.fake_ollama import Ended, FakeOllama, Script
from tests.support.gateways import gateway_process, live_gateway, make_settings, write_env_file
from tests.support.load import CHAT, Gateway
from tests.support.raw_http import request_bytes, send_to_the_end
from tests.support.stores import Stores
from tests.support.valid_bodies import INFERRING, STREAMING, asking

CASES = [
    (endpoint, streamed)
    for endpoint in INFERRING
    for streamed in ((True, False) if endpoint in STREAMING else (False,))
]
# Everything that ends something, shorter than the silence; its own time alone is longer.
SHORT: dict[str, Any] = {
    "body_timeout_s": 0.5,
    "upstream_connect_timeout_s": 0.5,
    "upstream_record_timeout_s": 0.5,
    "ledger_timeout_s": 0.9,
    "redis_timeout_s": 0.9,
    "heartbeat_s": 0.2,
    "lease_s": 1.0,
    "recovery_after_s": 1.0,
    "upstream_first_byte_timeout_s": 30,
}


class ShortConnection(CallerConnection):
    """Bounds for a caller that are shorter than the silence, none of which concerns one who waits."""

    head_seconds = unread_seconds = stall_seconds = 0.5

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.timeout_keep_alive = 0.5  # type: ignore[assignment]  # uvicorn counts in whole seconds, the loop does not


async def all_of_them(gateway: Gateway, tenancy: Tenancy) -> list[tuple[int, bool]]:
    """Every endpoint asked at once, streamed or not: status, and whether the answer was whole."""
    requests = [
        request_bytes(
            "POST",
            endpoint.path,
            key=tenancy.key,
            body=json.dumps(asking(endpoint, 20, **({"stream": streamed} if endpoint in STREAMING else {}))).encode(),
        )
        for endpoint, streamed in CASES
    ]
    answers = await asyncio.gather(*(send_to_the_end(gateway.base_url, each, timeout_seconds=200) for each in requests))
    return [(answer.status, answer.whole) for answer in answers]


async def leaving(gateway: Gateway, tenancy: Tenancy, ollama: FakeOllama, number: int) -> float:
    """Leave amidst the silence; how long the model server was kept after it."""
    async with gateway.http(tenancy.key) as http:
        asked = asyncio.create_task(http.post("/api/chat", json=CHAT))
        await ollama.wait_for(lambda: len(ollama.hits) > number)
        await asyncio.sleep(0.3)
        left_at = time.monotonic()
        asked.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asked
        await ollama.wait_for(lambda: ollama.hits[number].closed_at is not None)
    assert ollama.hits[number].ended is Ended.CALLER_LEFT
    return time.monotonic() - left_at


@pytest.mark.promise("S6", "S1")
async def test_a_long_silence_is_survived_by_all_that_is_shorter(stores: Stores, ollama: FakeOllama) -> None:
    silence = 2.5
    async with live_gateway(stores, ollama.base_url, protocol=ShortConnection, **SHORT) as gateway:
        places = len(CASES)
        tenancy = await make_tenancy(gateway.services, key_limits=Limits(concurrent=places))
        other = await make_tenancy(gateway.services)
        ollama.script = Script(delay_before_head_seconds=silence)
        waiting = asyncio.create_task(all_of_them(gateway, tenancy))
        await ollama.wait_for(lambda: ollama.in_flight == places)
        assert await leaving(gateway, other, ollama, places) <= 1.0
        await asyncio.sleep(silence - 1.2)
        async with gateway.http(tenancy.key) as http:  # past the lease, every place is still held
            assert (await http.post("/api/chat", json=CHAT)).status_code == httpx.codes.TOO_MANY_REQUESTS
        assert await waiting == [(200, True)] * places
        await settled(stores, tenancy)
    rows = await stores.fetch("select outcome from audit_log where tenant_id = $1", tenancy.tenant.id)
    assert sorted(row["outcome"] for row in rows) == ["completed"] * places + ["refused"]
    assert len(ollama.hits) == places + 1


@pytest.mark.full
@pytest.mark.promise("S6", "S1")
@pytest.mark.timeout(300)
async def test_two_minutes_of_silence_are_survived_with_the_settings_as_they_come(
    management: Services, stores: Stores, ollama: FakeOllama, env_path: Path
) -> None:
    silence = 120.0
    settings = make_settings(stores, ollama.base_url, redis_timeout_s=0.25, ledger_timeout_s=0.9)
    tenancy, other = await make_tenancy(management), await make_tenancy(management)
    ollama.script = Script(delay_before_head_seconds=silence)
    async with gateway_process(write_env_file(env_path, settings)) as gateway:
        waiting = asyncio.create_task(all_of_them(gateway, tenancy))
        await ollama.wait_for(lambda: ollama.in_flight == len(CASES))
        await asyncio.sleep(silence / 2)
        kept = await leaving(gateway, other, ollama, len(CASES))
        assert await waiting == [(200, True)] * len(CASES)
    print(f"S6: {len(CASES)} requests survived {silence:.0f} s of silence; whoever left was gone after {kept:.2f} s")
    assert kept <= 1.0
    rows = await stores.fetch("select outcome from audit_log where tenant_id = $1", tenancy.tenant.id)
    assert [row["outcome"] for row in rows] == ["completed"] * len(CASES)
