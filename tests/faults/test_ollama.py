"""Ollama away, hanging or half there: told in the surface's own words, freed at once, charged, never asked twice."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest

from neuronetz_gateway.surfaces.surface import Endpoint
from tests.gateway.test_broken_answers import booked
from tests.gateway.test_half_records import records_of, told
from tests.support.factories import Tenancy, make_tenancy
from tests.support.fake_ollama import FakeOllama, Fault, Script
from tests.support.fake_ollama_script import busy, never
from tests.support.fault_proxy import Direction, FaultProxy
from tests.support.gateways import LiveGateway, live_gateway
from tests.support.load import CHAT
from tests.support.raw_http import RawEnd, request_bytes, send_to_the_end
from tests.support.stores import Stores
from tests.support.valid_bodies import GENERATING, INFERRING, STREAMING, asking, name_of

FREED_SECONDS = 1.0 * 3  # promised is 1 s, with the slack of a test
SHORT = {"upstream_first_byte_timeout_s": 1, "upstream_record_timeout_s": 1}
PATIENT = {"upstream_first_byte_timeout_s": 30, "upstream_record_timeout_s": 30}


@dataclass(frozen=True, slots=True)
class Fate:
    """One fault with what has to become of a request: what its caller is told, how it is booked, how often it went up.

    The message stands in an error body of this status, or at 200 in the error event of a stream; "" for whole.
    """

    status: int
    message: str
    outcome: str
    hits: int = 1
    script: Script | None = None
    arrange: Callable[[FaultProxy], None] | None = None
    whole_bodies: bool = True  # whether it means anything for an answer in one piece
    streams: bool = True

    @property
    def free(self) -> bool:
        return self.outcome in {"not_forwarded", "upstream_refused"}


BEGUN, BROKEN = "did not begin to answer in time", "broke off its answer"
FATES: dict[str, Fate] = {
    "down": Fate(503, "cannot be reached", "not_forwarded", 0, arrange=FaultProxy.refuse),
    "hanging": Fate(504, BEGUN, "upstream_timed_out", script=never()),
    "half-open upwards": Fate(
        504, BEGUN, "upstream_timed_out", 0, arrange=lambda proxy: proxy.half_open(Direction.UP, keep=False)
    ),
    "half-open downwards": Fate(504, BEGUN, "upstream_timed_out", arrange=lambda proxy: proxy.half_open(keep=False)),
    "hanging within its answer": Fate(
        200, "fell silent", "upstream_timed_out", script=Script(fault=Fault.HANG, fault_after_records=4),
        whole_bodies=False,
    ),
    "failing": Fate(502, "The model server failed", "upstream_refused", script=Script(status=500)),
    "busy": Fate(503, "The model server is busy", "upstream_refused", script=busy()),
    "reset before its head": Fate(502, BROKEN, "upstream_broken", script=Script(fault=Fault.RESET)),
    "reset after its head": Fate(
        200, BROKEN, "upstream_broken", script=Script(fault=Fault.RESET, fault_after_records=4), whole_bodies=False
    ),
    "no HTTP": Fate(502, BROKEN, "upstream_broken", script=Script(fault=Fault.GARBAGE_FRAMING)),
    "a length too long": Fate(
        502, BROKEN, "upstream_broken", script=Script(content_length_delta=40), streams=False
    ),
    "a length too short": Fate(
        502, "model server", "upstream_broken", script=Script(content_length_delta=-4), streams=False
    ),
    "dripping": Fate(200, "", "completed", script=Script(tokens=2, bytes_per_second=20_000)),
}  # fmt: skip
CASES = [
    (endpoint, streamed)
    for endpoint in INFERRING
    for streamed in ((True, False) if endpoint in STREAMING else (False,))
]


def concerns(fate: Fate, endpoint: Endpoint, *, streamed: bool) -> bool:
    """Whether a fault can befall such a request."""
    return (fate.streams if streamed else fate.whole_bodies) and (fate.status != 200 or endpoint in GENERATING)


@dataclass(frozen=True, slots=True)
class Bench:
    gateway: LiveGateway
    proxy: FaultProxy
    ollama: FakeOllama
    stores: Stores


@asynccontextmanager
async def benched(stores: Stores, ollama: FakeOllama, settings: dict[str, Any]) -> AsyncIterator[Bench]:
    """A gateway that reaches its Ollama through a proxy whose faults can be switched."""
    parts = urlsplit(ollama.base_url)
    assert parts.hostname is not None
    assert parts.port is not None
    async with (
        FaultProxy(parts.hostname, parts.port) as proxy,
        live_gateway(stores, f"http://{proxy.address}", **settings) as gateway,
    ):
        yield Bench(gateway, proxy, ollama, stores)


@pytest.fixture
async def bench(stores: Stores, ollama: FakeOllama) -> AsyncIterator[Bench]:
    async with benched(stores, ollama, PATIENT) as made:
        yield made


async def freed(bench: Bench) -> float:
    """How long it takes until the request holds no place, here or at the model server."""
    began = time.monotonic()
    async with asyncio.timeout(FREED_SECONDS):
        while bench.gateway.services.limiter.open_admissions or bench.ollama.in_flight:
            await asyncio.sleep(0.005)
    return time.monotonic() - began


def said(endpoint: Endpoint, answer: RawEnd, *, streamed: bool) -> str:
    """The error that an answer tells of, "" for none."""
    if answer.status != 200:
        assert answer.whole
        return told(json.loads(answer.body))
    if answer.whole:
        return ""
    assert streamed
    return told(records_of(endpoint, answer.body)[-1])


async def answered(bench: Bench, endpoint: Endpoint, *, streamed: bool) -> tuple[Tenancy, RawEnd]:
    """One request of a tenant of its own."""
    tenancy = await make_tenancy(bench.gateway.services)
    body = asking(endpoint, 50, **({"stream": streamed} if endpoint in STREAMING else {}))
    asked = request_bytes("POST", endpoint.path, key=tenancy.key, body=json.dumps(body).encode())
    return tenancy, await send_to_the_end(bench.gateway.base_url, asked)


async def check(
    bench: Bench, fate: Fate, endpoint: Endpoint, tenancy: Tenancy, answer: RawEnd, *, streamed: bool
) -> None:
    """Hold what became of a request against what has to."""
    case = f"{name_of(endpoint)}, streamed: {streamed}"
    assert answer.status == fate.status, (case, answer.body)
    message = said(endpoint, answer, streamed=streamed)
    assert (fate.message in message) if fate.message else not message, (case, message)
    assert (b"retry-after:" in answer.head) is (fate.status == 503), case
    outcome, status, charged = await booked(bench.stores, tenancy)
    assert (outcome, status) == (fate.outcome, fate.status), case
    assert (charged == 0) is fate.free, case


@pytest.mark.promise("F3", "B7")
@pytest.mark.parametrize("name", FATES)
async def test_every_fault_is_told_freed_and_charged(stores: Stores, ollama: FakeOllama, name: str) -> None:
    """Deadlines are short for what is told by one; else a busy machine would look like a model server that hangs."""
    fate = FATES[name]
    async with benched(stores, ollama, SHORT if fate.outcome == "upstream_timed_out" else PATIENT) as bench:
        await _befall(bench, fate, name)


async def _befall(bench: Bench, fate: Fate, name: str) -> None:
    cases = [(endpoint, streamed) for endpoint, streamed in CASES if concerns(fate, endpoint, streamed=streamed)]
    if fate.script is not None:
        bench.ollama.script = fate.script
    if fate.arrange is not None:
        fate.arrange(bench.proxy)
    answers = await asyncio.gather(*(answered(bench, endpoint, streamed=streamed) for endpoint, streamed in cases))
    kept = await freed(bench)
    for (endpoint, streamed), (tenancy, answer) in zip(cases, answers, strict=True):
        await check(bench, fate, endpoint, tenancy, answer, streamed=streamed)
    assert len(bench.ollama.hits) == fate.hits * len(cases)
    print(f"F3: {name}: {len(cases)} requests told, booked, asked once; places freed within {kept * 1000:.0f} ms")
    bench.proxy.heal()
    bench.ollama.script = Script()
    for endpoint, streamed in cases[:2]:
        tenancy, answer = await answered(bench, endpoint, streamed=streamed)
        await check(bench, Fate(200, "", "completed"), endpoint, tenancy, answer, streamed=streamed)


@pytest.mark.promise("F3", "S5")
@pytest.mark.parametrize("streamed", [True, False])
async def test_a_line_of_ten_megabytes_passes(stores: Stores, ollama: FakeOllama, *, streamed: bool) -> None:
    ollama.next(Script(tokens=3, huge_record_bytes=10_000_000))
    body = json.dumps({**CHAT, "stream": streamed}).encode()
    async with benched(stores, ollama, PATIENT) as bench:
        tenancy = await make_tenancy(bench.gateway.services)
        asked = request_bytes("POST", "/api/chat", key=tenancy.key, body=body)
        answer = await send_to_the_end(bench.gateway.base_url, asked, timeout_seconds=30)
        assert (answer.status, answer.whole) == (200, True)
        assert len(answer.body) == ollama.hits[0].bytes_sent > 10_000_000
        assert (await booked(stores, tenancy))[0] == "completed"


@pytest.mark.promise("F3")
@pytest.mark.parametrize("close", [FaultProxy.cut, FaultProxy.reset])
async def test_idle_connections_that_were_closed_fail_nobody(bench: Bench, close: Callable[[FaultProxy], None]) -> None:
    tenancy = await make_tenancy(bench.gateway.services)
    async with bench.gateway.http(tenancy.key) as http:
        for turn in range(5):
            answers = await asyncio.gather(*(http.post("/api/chat", json=CHAT) for _ in range(4)))
            assert [answer.status_code for answer in answers] == [200] * 4, turn
            close(bench.proxy)
            async with asyncio.timeout(2):
                while bench.proxy.connections_open:
                    await asyncio.sleep(0.005)
            await asyncio.sleep(0.02)  # until the gateway has read of it; nothing tells when
    assert len(bench.ollama.hits) == 20


@pytest.mark.promise("F3")
async def test_a_request_that_went_up_is_never_sent_again(bench: Bench) -> None:
    """On a kept connection that breaks under the request nobody knows whether the model has begun, so nobody asks it
    twice: one hit for each request, whatever its end."""
    tenancy = await make_tenancy(bench.gateway.services)
    async with bench.gateway.http(tenancy.key) as http:
        for fault in (Fault.RESET, Fault.CLOSE):
            assert (await http.post("/api/chat", json=CHAT)).status_code == 200
            before = len(bench.ollama.hits)
            bench.ollama.next(Script(fault=fault))
            assert (await http.post("/api/chat", json=CHAT)).status_code == 502
            assert len(bench.ollama.hits) == before + 1
    assert bench.proxy.connections == 2
