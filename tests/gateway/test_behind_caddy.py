"""Through the edge that operators are given, callers reach the surfaces, nothing else (P2)."""

import asyncio
import hashlib
import itertools
import json
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from neuronetz_gateway.surfaces.catalog import ACCOUNT, ENDPOINTS
from tests.gateway.test_streaming import WITHIN_SECONDS, latest_record_seconds, streamed
from tests.support.edge import Edge, edge_before
from tests.support.factories import make_tenancy
from tests.support.fake_ollama import FakeOllama, Script
from tests.support.gateways import LiveGateway, live_gateway
from tests.support.load import CHAT
from tests.support.no_tls import NO_TLS
from tests.support.stores import Stores
from tests.support.valid_bodies import SPEECHES, STREAMING, name_of

INSIDE = ("metrics", "healthz", "readyz", "docs", "redoc", "openapi.json")
SIGNS = (b"neuronetz_", b'"ready"', b'"status":"ok"', b"swagger", b"redoc", b'"openapi"')
PREFIXES = ("", "/api", "/v1", "/v1/models", "/account", "/api/chat", "/playground")
CLIMBS = (
    "/",
    "//",
    "/./",
    "/../",
    "/%2e%2e/",
    "/..%2f",
    "/%2e%2e%2f",
    "/.%2e/",
    "/..;/",
    "/..\\",
    "/%5c",
    "/%252e%252e/",
    "/%2f",
)
ENDINGS = ("", "/", "?x=1", "%20", "%00", ";x", "#", "/.", "%2f")

ONE_OF_EACH_SURFACE = {"/api/chat", "/v1/chat/completions", "/v1/messages"}

pytestmark = pytest.mark.promise("P2")


@pytest.fixture
async def behind(stores: Stores, ollama: FakeOllama, tmp_path: Path) -> AsyncIterator[tuple[LiveGateway, Edge]]:
    async with (
        live_gateway(stores, ollama.base_url, trusted_proxies="127.0.0.1") as gateway,
        edge_before(gateway.base_url, tmp_path) as edge,
    ):
        yield gateway, edge


def spellings() -> Iterator[str]:
    for page, prefix, climb in itertools.product(INSIDE, PREFIXES, CLIMBS):
        yield f"{prefix}{climb}{page}"
    for page, ending in itertools.product(INSIDE, ENDINGS):
        yield f"/{page}{ending}"
    for page in INSIDE:
        yield from (f"/{page.upper()}", f"/%{ord(page[0]):02x}{page[1:]}", f"http://127.0.0.1/{page}")


async def answer_to(port: int, target: str, method: str = "GET", *more: str) -> bytes:
    """What comes back for a request target that no library would send as it is."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = (f"{method} {target} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Connection: close", *more, "", "")
    writer.write("\r\n".join(lines).encode("latin-1"))
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_no_spelling_of_an_inner_page_reaches_it_through_the_edge(
    behind: tuple[LiveGateway, Edge], ollama: FakeOllama
) -> None:
    gateway, edge = behind
    for page in ("metrics", "healthz", "readyz"):  # they are there, for those inside
        assert b" 200 " in (await answer_to(int(gateway.base_url.rpartition(":")[2]), f"/{page}")).splitlines()[0]
    asked = len(ollama.requests)  # by the readiness just now
    tried = list(dict.fromkeys(spellings()))
    for target in tried:
        answer = await answer_to(edge.port, target)
        status = int(answer.split(b" ", 2)[1])
        assert 300 <= status < 500, (target, answer)
        assert not any(sign in answer.lower() for sign in SIGNS), (target, answer)
        assert b"server:" not in answer.lower(), answer
    print(f"{len(tried)} spellings")
    for method in ("POST", "HEAD", "OPTIONS", "TRACE", "CONNECT"):
        answer = await answer_to(edge.port, "/metrics", method, "Content-Length: 0")
        assert b" 200 " not in answer.splitlines()[0], (method, answer)
    for header in ("X-Original-URL: /metrics", "X-Rewrite-URL: /metrics", "X-HTTP-Method-Override: GET"):
        answer = await answer_to(edge.port, "/api/version", "GET", header)
        assert b"neuronetz_" not in answer, header
    assert len(ollama.requests) == asked


async def test_every_endpoint_is_served_through_the_edge_with_the_callers_own_address(
    behind: tuple[LiveGateway, Edge], stores: Stores, ollama: FakeOllama
) -> None:
    gateway, edge = behind
    tenancy = await make_tenancy(gateway.services)
    forged = {"x-forwarded-for": "203.0.113.66", "x-real-ip": "203.0.113.66", "forwarded": "for=203.0.113.66"}
    async with httpx.AsyncClient(
        base_url=edge.base_url, headers=tenancy.bearer, verify=NO_TLS, trust_env=False, timeout=30
    ) as http:
        for endpoint in (*ENDPOINTS, ACCOUNT):
            path = "/v1/models/fakea" if endpoint.prefix else endpoint.path
            speech = SPEECHES.get(endpoint.path)
            answer = await http.request(endpoint.method, path, json=speech and speech.body, headers=forged)
            assert answer.status_code == httpx.codes.OK, (endpoint, answer.text)
            assert not {"server", "via"} & answer.headers.keys()
        assert (await http.get("/")).status_code == httpx.codes.OK
        blocked = await http.post("/api/pull", json={"model": "x"})
        assert blocked.json()["error"].startswith("This endpoint is blocked")
        wrong = await http.get("/v1/nothing")
        assert "error" in wrong.json()
    addresses = await stores.fetch("select distinct address from audit_log where tenant_id is not null")
    assert [row["address"] for row in addresses] == ["127.0.0.1"]
    assert ollama.requests


async def test_the_pages_are_reached_through_the_edge_where_they_are_enabled(
    stores: Stores, ollama: FakeOllama, tmp_path: Path
) -> None:
    async with (
        live_gateway(stores, ollama.base_url, playground_enabled=True) as gateway,
        edge_before(gateway.base_url, tmp_path) as edge,
        httpx.AsyncClient(base_url=edge.base_url, trust_env=False) as http,
    ):
        for path in ("/", "/playground", "/playground/key.js"):
            answer = await http.get(path, headers={"accept": "text/html"})
            assert (answer.status_code, answer.headers["x-frame-options"]) == (httpx.codes.OK, "DENY"), path
            assert answer.headers["x-content-type-options"] == "nosniff"
        assert (await http.get("/playgrounds")).status_code == httpx.codes.NOT_FOUND


async def test_records_of_a_stream_leave_the_edge_as_they_come(
    behind: tuple[LiveGateway, Edge], ollama: FakeOllama
) -> None:
    """The gate opens once the caller holds the third record: an edge that waits for more would wait for ever."""
    gateway, edge = behind
    tenancy = await make_tenancy(gateway.services)
    gate = asyncio.Event()
    ollama.next(Script(tokens=8, gate=gate, gate_after_records=3))
    body = {**CHAT, "stream": True}
    async with (
        asyncio.timeout(20),
        httpx.AsyncClient(base_url=edge.base_url, headers=tenancy.bearer, verify=NO_TLS, trust_env=False) as http,
        http.stream("POST", "/api/chat", json=body) as answer,
    ):
        records = 0
        async for _ in answer.aiter_lines():
            records += 1
            if records == 3:
                gate.set()
    assert records > 3


@pytest.fixture
async def behind_tls(stores: Stores, ollama: FakeOllama, tmp_path: Path) -> AsyncIterator[tuple[LiveGateway, Edge]]:
    async with (
        live_gateway(stores, ollama.base_url, trusted_proxies="127.0.0.1,::1") as gateway,
        edge_before(gateway.base_url, tmp_path, tls=True) as edge,
    ):
        yield gateway, edge


@pytest.mark.alone
@pytest.mark.promise("S5")
async def test_through_tls_every_record_leaves_in_time_and_unchanged(
    behind_tls: tuple[LiveGateway, Edge], ollama: FakeOllama
) -> None:
    """NDJSON and SSE alike; as at the gateway's own port, the best of three turns counts."""
    gateway, edge = behind_tls
    tenancy = await make_tenancy(gateway.services)
    async with edge.http(tenancy.bearer) as http:
        for endpoint in (each for each in STREAMING if each.path in ONE_OF_EACH_SURFACE):
            slowest = [await latest_record_seconds(http, ollama, endpoint, usage=True) for _ in range(3)]
            assert min(slowest) <= WITHIN_SECONDS, (name_of(endpoint), slowest)
            ollama.next(Script(tokens=300))
            answer = await http.post(endpoint.path, json=streamed(endpoint, usage=True))
            assert hashlib.sha256(answer.content).hexdigest() == ollama.hits[-1].sent_digest, name_of(endpoint)


@pytest.mark.promise("S5")
async def test_records_leave_as_they_come_in_http_2_too(
    behind_tls: tuple[LiveGateway, Edge], ollama: FakeOllama
) -> None:
    gateway, edge = behind_tls
    tenancy = await make_tenancy(gateway.services)
    gate = asyncio.Event()
    ollama.next(Script(tokens=8, gate=gate, gate_after_records=3))
    words = ("--http2", "--no-buffer", "--silent", "--dump-header", "-", "--cacert", str(edge.root))
    answered = await curl(
        *words, "--header", f"Authorization: Bearer {tenancy.key}", "--data", json.dumps({**CHAT, "stream": True}),
        f"{edge.base_url}/api/chat",
    )  # fmt: skip
    assert answered.stdout is not None
    lines: list[bytes] = []
    async with asyncio.timeout(20):
        while line := await answered.stdout.readline():
            lines.append(line)
            if sum(each.startswith(b"{") for each in lines) == 3:
                gate.set()
        await answered.wait()
    assert lines[0].startswith(b"HTTP/2 200"), lines
    assert sum(each.startswith(b"{") for each in lines) > 3


async def curl(*words: str) -> asyncio.subprocess.Process:
    if shutil.which("curl") is None:
        pytest.skip("curl is missing, so nothing was seen of HTTP/2")
    return await asyncio.create_subprocess_exec("curl", *words, stdout=asyncio.subprocess.PIPE)


async def test_who_comes_without_tls_is_sent_to_it_and_told_to_stay(behind_tls: tuple[LiveGateway, Edge]) -> None:
    _, edge = behind_tls
    async with edge.http() as http:
        first = await http.get(f"http://localhost:{edge.plain_port}/api/version")
        assert first.status_code == httpx.codes.PERMANENT_REDIRECT
        assert first.headers["location"] == "https://localhost/api/version"
        answer = await http.get("/api/version")
    assert answer.headers["strict-transport-security"] == "max-age=31536000"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.promise("N5")
async def test_the_edge_bounds_heads_and_bodies_by_itself(gateway: LiveGateway, tmp_path: Path) -> None:
    tenancy = await make_tenancy(gateway.services)
    async with (
        edge_before(gateway.base_url, tmp_path, GATEWAY_MAX_BODY="64KiB") as edge,
        edge.http(tenancy.bearer) as http,
    ):
        answer = await http.post("/api/chat", content=b"{" + b" " * 100_000)
        assert answer.status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE
        assert not gateway.services.limiter.open_admissions
        assert (await http.post("/api/chat", json=CHAT)).status_code == httpx.codes.OK
        with suppress(httpx.TransportError):  # it may close before the head is written whole
            answer = await http.get("/api/version", headers={"x-long": "x" * 80_000})
            assert answer.status_code == httpx.codes.REQUEST_HEADER_FIELDS_TOO_LARGE


@pytest.mark.parametrize("enabled", [False, True])
async def test_the_playground_is_there_where_the_gateway_has_one(
    stores: Stores, ollama: FakeOllama, tmp_path: Path, enabled: bool
) -> None:
    """One switch, at the gateway, which is off; whatever the pages ask for comes through, nothing beside them."""
    async with (
        live_gateway(stores, ollama.base_url, trusted_proxies="127.0.0.1", playground_enabled=enabled) as gateway,
        edge_before(gateway.base_url, tmp_path) as edge,
        edge.http({"accept": "text/html"}) as http,
    ):
        page = await http.get("/playground")
        assert page.status_code == (httpx.codes.OK if enabled else httpx.codes.NOT_FOUND)
        assert ("content-security-policy" in page.headers) is enabled
        asked = set(re.findall(r'(?:src|href)="(/[^"#]*)"', page.text + (await http.get("/")).text))
        assert bool(asked) is enabled
        for path in asked:
            assert (await http.get(path)).status_code == httpx.codes.OK, path
        beside = await http.get("/playgrounds")
        assert (beside.status_code, beside.text) == (httpx.codes.NOT_FOUND, "Not found")


async def test_the_edge_writes_down_no_key_also_when_it_reaches_nobody(tmp_path: Path) -> None:
    """Caddy blots out Authorization by itself, x-api-key it would write down with every failure."""
    key = "nz_A1b2C3d4E" + "s" * 32
    async with edge_before("http://127.0.0.1:9", tmp_path) as edge:
        headers = {"x-api-key": key, "authorization": f"Bearer {key}", "cookie": key}
        async with httpx.AsyncClient(base_url=edge.base_url, headers=headers, verify=NO_TLS, trust_env=False) as http:
            for path in ("/v1/messages", f"/v1/messages?key={key}", f"/api/{key}", f"/nothing/{key}?q={key}"):
                answer = await http.post(path, content=b"{}")
                assert answer.status_code in {404, 502}
                assert key not in answer.text
    told = edge.log.read_text()
    assert told.count("http.log.access") == 4
    assert "http.log.error" in told
    assert "s" * 32 not in told
