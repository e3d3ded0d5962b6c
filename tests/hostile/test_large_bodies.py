"""Large bodies cost a bounded multiple of their size, at nobody else's expense."""

import asyncio
import time
from collections.abc import Iterable
from pathlib import Path

import httpx
import orjson
import pytest

from neuronetz_gateway.domain.limit import Limits
from neuronetz_gateway.wiring import Services
from tests.support.factories import Tenancy, make_tenancy
from tests.support.fake_ollama import FakeOllama, Script
from tests.support.forks import Zygote
from tests.support.gateways import (
    GatewayProcess,
    LiveGateway,
    gateway_fork,
    live_gateway,
    make_settings,
    write_env_file,
)
from tests.support.large_bodies import SHAPES
from tests.support.load import CHAT, statuses_of
from tests.support.paced_callers import Plan, paced_callers
from tests.support.process_figures import forget_the_peak, peak_bytes, resident_bytes
from tests.support.stores import Stores

MIB = 1024 * 1024
MOST_TIMES = 10
# MAX_JSON_NODES values may cost so much whatever their size: 200,000 empty objects are 0.6 MiB of text
LEAST_BYTES = 32 * MIB
CROWDED = ("many keys", "many tools", "one text of wide letters")
WORST = (
    "many wide strings",
    "duplicate keys",
)


async def _costs(
    zygote: Zygote,
    services: Services,
    stores: Stores,
    ollama: FakeOllama,
    env_path: Path,
    names: Iterable[str],
    size_bytes: int,
) -> None:
    """Each in a process of its own: what one leaves free in the heap would hide what the next one takes."""
    tenancy = await make_tenancy(services)
    env_file = write_env_file(env_path, make_settings(stores, ollama.base_url))
    for name in names:
        body = SHAPES[name].body(size_bytes)
        async with gateway_fork(zygote, env_file) as gateway, gateway.http(tenancy.key) as http:
            await http.post("/api/chat", json=CHAT)
            before = forget_the_peak(gateway.process.pid)
            answer = await http.post(SHAPES[name].path, content=body)
            cost = peak_bytes(gateway.process.pid) - before
        print(f"O2: {name}: {cost / MIB:.0f} MiB for {len(body) / MIB:.1f} MiB: {cost / len(body):.1f} times")
        assert answer.status_code in {200, 400}, (name, answer.text)
        assert cost <= max(MOST_TIMES * len(body), LEAST_BYTES), name


@pytest.mark.promise("O2")
async def test_a_request_costs_at_most_ten_times_its_size_in_memory(
    zygote: Zygote, management: Services, stores: Stores, ollama: FakeOllama, env_path: Path
) -> None:
    """Two and a half million keys in 16 MiB cost 600 MiB before they were refused: the strings of the body had been
    taken out of a copy of it, each as an object of its own."""
    await _costs(zygote, management, stores, ollama, env_path, WORST, 10 * MIB)


@pytest.mark.full
@pytest.mark.promise("O2")
@pytest.mark.timeout(300)
async def test_a_request_of_any_shape_costs_at_most_ten_times_its_size_in_memory(
    zygote: Zygote, management: Services, stores: Stores, ollama: FakeOllama, env_path: Path
) -> None:
    await _costs(zygote, management, stores, ollama, env_path, SHAPES, 16 * MIB - 2000)


@pytest.mark.promise("O2")
async def test_a_body_is_let_go_once_its_answer_has_begun(
    zygote: Zygote, management: Services, stores: Stores, ollama: FakeOllama, env_path: Path
) -> None:
    """Each stream held its request three times until its end: as a tree, as it was sent, as the request itself."""
    tenancy = await make_tenancy(management)
    ollama.for_model("fakea:latest", Script(tokens=100_000, gap_seconds=0.2))
    settings = make_settings(stores, ollama.base_url, max_output_tokens=1_000_000)
    body = SHAPES["one text"].body(8 * MIB).replace(b'"stream":false', b'"stream":true ')
    async with gateway_fork(zygote, write_env_file(env_path, settings)) as gateway, gateway.http(tenancy.key) as http:
        await http.post("/api/chat", content=SHAPES["one text"].body(8 * MIB).replace(b"fakea", b"fakeb"))
        before = resident_bytes(gateway.process.pid)
        streams = [
            await http.send(http.build_request("POST", "/api/chat", content=body), stream=True) for _ in range(8)
        ]
        assert [stream.status_code for stream in streams] == [200] * 8
        held = resident_bytes(gateway.process.pid) - before
        for stream in streams:
            await stream.aclose()
    print(f"O2: 8 streams with bodies of 8 MiB hold {held / MIB:.1f} MiB")
    assert held <= 32 * MIB


@pytest.mark.promise("O2")
async def test_a_tenant_gets_at_most_half_of_the_room_for_large_bodies(stores: Stores, ollama: FakeOllama) -> None:
    """Sixteen bodies of 16 MiB at once were read side by side, whatever they were worth in memory together."""
    ollama.script = Script(delay_before_head_seconds=1.5)
    async with live_gateway(stores, ollama.base_url, max_body_bytes=2 * MIB, max_bodies_bytes=8 * MIB) as gateway:
        hog, other = await make_tenancy(gateway.services), await make_tenancy(gateway.services)
        body = SHAPES["one text"].body(2 * MIB)
        crowd = asyncio.create_task(_at_once(gateway, hog, body, 8))
        await ollama.wait_for(lambda: len(ollama.hits) == 2)
        [elsewhere] = await _at_once(gateway, other, body, 1)
        assert elsewhere.status_code == 200
        assert await statuses_of([gateway], hog.key, 20, at_once=20) == {200: 20}  # small ones take no room
        answers = await crowd
        refused = [answer for answer in answers if answer.status_code == 503]
        assert [answer.status_code for answer in answers].count(200) == 8 - len(refused) == 2
        for answer in refused:
            assert "MAX_BODIES_BYTES" in answer.json()["error"]
            assert int(answer.headers["retry-after"]) >= 1
        ollama.script = Script()
        assert [answer.status_code for answer in await _at_once(gateway, hog, body, 2)] == [200, 200]
    assert len(ollama.hits) == 2 + 1 + 20 + 2
    assert {row["charged_tokens"] for row in await stores.fetch("select * from audit_log where status = 503")} == {0}


async def _at_once(
    gateway: LiveGateway | GatewayProcess, tenancy: Tenancy, body: bytes, count: int
) -> list[httpx.Response]:
    async with gateway.http(tenancy.key) as http:
        return await asyncio.gather(*(http.post("/api/chat", content=body) for _ in range(count)))


@pytest.mark.promise("O2")
async def test_bodies_that_are_refused_or_left_midway_give_their_room_back(stores: Stores, ollama: FakeOllama) -> None:
    good = SHAPES["one text"].body(MIB)
    ends = [
        good[:-1] + b"!",  # no JSON
        good.replace(b"fakea", b"f@kea"),
        SHAPES["one text"].body(MIB + 100),
        SHAPES["too deep"].body(MIB - 10),
    ]
    async with live_gateway(stores, ollama.base_url, max_body_bytes=MIB, max_bodies_bytes=2 * MIB) as gateway:
        tenancy = await make_tenancy(gateway.services)
        for bad in ends:
            [answer] = await _at_once(gateway, tenancy, bad, 1)
            assert answer.status_code in {400, 413}, answer.text
        await _leave_midway(gateway.base_url, tenancy.key, good)
        [answer] = await _at_once(gateway, tenancy, good, 1)  # takes the whole half
        assert answer.status_code == 200
    assert len(ollama.hits) == 1


@pytest.mark.promise("O2")
async def test_refused_bodies_leave_nothing_behind(
    zygote: Zygote, management: Services, stores: Stores, ollama: FakeOllama, env_path: Path
) -> None:
    """Each stood in the traceback of its refusal, which stood in a circle with the task that had read it: hundreds of
    megabytes until the garbage collector came by."""
    tenancy = await make_tenancy(management)
    settings = make_settings(stores, ollama.base_url, max_body_bytes=4 * MIB, max_bodies_bytes=8 * MIB)
    async with gateway_fork(zygote, write_env_file(env_path, settings)) as gateway:
        before = resident_bytes(gateway.process.pid)
        plan = Plan(
            gateway.base_url, 50, 2, (tenancy.key,), connections=8, shapes=("one text",), size_bytes=4 * MIB - 2000
        )
        async with paced_callers(plan) as callers:
            told = await callers.ended()
        left = resident_bytes(gateway.process.pid) - before
    print(f"O2: after {told.statuses.get(503, 0)} refused bodies of 4 MiB {left / MIB:.0f} MiB more than before")
    assert set(told.statuses) == {400, 503}
    assert left <= 48 * MIB


async def _leave_midway(base_url: str, key: str, body: bytes) -> None:
    url = httpx.URL(base_url)
    _, writer = await asyncio.open_connection(url.host, url.port)
    head = b"POST /api/chat HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer %b\r\nContent-Length: %d\r\n\r\n"
    writer.write(head % (key.encode(), len(body)) + body[: len(body) // 2])
    await writer.drain()
    await asyncio.sleep(0.1)
    writer.transport.abort()
    await asyncio.sleep(0.1)


async def _neighbours(
    zygote: Zygote,
    services: Services,
    stores: Stores,
    ollama: FakeOllama,
    env_path: Path,
    *,
    size_bytes: int,
    seconds: float,
) -> None:
    hog, small = await make_tenancy(services), await make_tenancy(services)
    env_file = write_env_file(env_path, make_settings(stores, ollama.base_url))
    async with gateway_fork(zygote, env_file) as gateway:
        large = Plan(gateway.base_url, 50, seconds, (hog.key,), connections=8, shapes=CROWDED, size_bytes=size_bytes)
        plan = Plan(gateway.base_url, 20, seconds, (small.key,), connections=40)
        async with paced_callers(plan) as alone:
            quiet = await alone.ended()
        before = forget_the_peak(gateway.process.pid)
        async with paced_callers(large) as hogs, paced_callers(plan) as callers:
            crowd, told = await hogs.ended(), await callers.ended()
        most = peak_bytes(gateway.process.pid) - before
    print(
        f"O2: bodies of {size_bytes / MIB:.0f} MiB, 8 at once: {crowd}; small ones beside them: {told}; alone: {quiet}"
    )
    print(f"O2: the gateway grew by {most / MIB:.0f} MiB")
    assert set(crowd.statuses) <= {400, 503}
    assert not crowd.lost
    for each in (quiet, told):
        assert set(each.statuses) == {200}
        assert not each.lost
        assert not each.unsent
    assert most <= 128 * MIB + MOST_TIMES * size_bytes


@pytest.mark.full
@pytest.mark.promise("O2")
async def test_small_requests_are_served_beside_a_crowd_of_large_ones(
    zygote: Zygote, management: Services, stores: Stores, ollama: FakeOllama, env_path: Path
) -> None:
    await _neighbours(zygote, management, stores, ollama, env_path, size_bytes=4 * MIB, seconds=2)


@pytest.mark.full
@pytest.mark.alone
@pytest.mark.promise("O2")
@pytest.mark.timeout(300)
async def test_small_requests_are_served_beside_a_crowd_of_the_largest(
    zygote: Zygote, management: Services, stores: Stores, ollama: FakeOllama, env_path: Path
) -> None:
    await _neighbours(zygote, management, stores, ollama, env_path, size_bytes=16 * MIB - 2000, seconds=30)


@pytest.mark.promise("O1")
async def test_what_is_past_the_cap_in_flight_is_refused_at_once(stores: Stores, ollama: FakeOllama) -> None:
    """The promise is 100 ms each; this machine may do something else meanwhile, so three times that is allowed."""
    ollama.script = Script(delay_before_head_seconds=5)
    async with live_gateway(stores, ollama.base_url, upstream_max_in_flight=4) as gateway:
        tenancy = await make_tenancy(gateway.services, key_limits=Limits(concurrent=500))
        async with gateway.http(tenancy.key) as http:
            running = [asyncio.create_task(http.post("/api/chat", json=CHAT)) for _ in range(4)]
            await ollama.wait_for(lambda: ollama.in_flight == 4)
            took = []
            for _ in range(100):
                began = time.perf_counter()
                answer = await http.post("/api/chat", json=CHAT)
                took.append(time.perf_counter() - began)
                assert (answer.status_code, int(answer.headers["retry-after"]) >= 1) == (503, True)
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
    print(f"O1: 100 refusals past the cap, p50 {sorted(took)[50] * 1000:.1f} ms, longest {max(took) * 1000:.1f} ms")
    assert sorted(took)[98] <= 0.3
    assert len(ollama.hits) == 4
    assert orjson.loads(answer.content)["error"].count("UPSTREAM_MAX_IN_FLIGHT") == 1
