"""The metrics: where they are, how many series they can become, what their labels never hold (P2)."""

import random
import string
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from neuronetz_gateway.domain.audit import Outcome
from neuronetz_gateway.surfaces.catalog import ACCOUNT, ENDPOINTS
from neuronetz_gateway.wiring import Services
from tests.support.factories import make_tenancy
from tests.support.fake_ollama import FakeOllama, Script
from tests.support.forks import Zygote
from tests.support.gateways import (
    GatewayProcess,
    LiveGateway,
    free_port,
    gateway_fork,
    gateway_process,
    live_gateway,
    make_settings,
    write_env_file,
)
from tests.support.ledgers import until
from tests.support.load import CHAT
from tests.support.no_tls import NO_TLS
from tests.support.stores import Stores

SEED = 20261123
CANARY = "canaryseries4d1e"
OPERATORS_PAGES = ("/metrics", "/docs", "/redoc", "/openapi.json", "/docs/oauth2-redirect")
ENDPOINT_LABELS = {endpoint.path for endpoint in (*ENDPOINTS, ACCOUNT)} | {"other"}
OUTCOME_LABELS = {outcome.value for outcome in Outcome} | {"served"}
WORDS = set(string.ascii_lowercase + string.digits + "_.")

pytestmark = pytest.mark.promise("P2")


def series(page: str) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    return {
        (sample.name, tuple(sorted(sample.labels.items())))
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def check_labels(page: str) -> None:
    """Every value is a row of the table, a status, an outcome, or a word of the code's own."""
    for name, labels in series(page):
        for label, value in labels:
            match label:
                case "endpoint":
                    assert value in ENDPOINT_LABELS, (name, labels)
                case "outcome":
                    assert value in OUTCOME_LABELS, (name, labels)
                case "status":
                    assert value == "0" or (value.isdecimal() and 100 <= int(value) <= 599), (name, labels)
                case "kind" | "reason" | "event" | "operation" | "dependency" | "period":
                    assert value, (name, labels)
                    assert set(value) <= WORDS, (name, labels)
                    assert len(value) <= 40, (name, labels)
                case "le" | "used_percent":
                    float(value)
                case _:
                    pytest.fail(f"a label of another name: {name} {labels}")


@pytest.mark.parametrize("workers", [1, 2])
async def test_with_a_port_of_their_own_the_metrics_are_there_alone(
    zygote: Zygote, stores: Stores, management: Services, ollama: FakeOllama, tmp_path: Path, workers: int
) -> None:
    port = free_port()
    settings = make_settings(stores, ollama.base_url, metrics_port=port)
    tenancy = await make_tenancy(management)
    env_file = write_env_file(tmp_path / "gateway.env", settings)
    async with (
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", verify=NO_TLS, trust_env=False) as apart,
        gateway_fork(zygote, env_file) if workers == 1 else gateway_process(env_file, "--workers", "2") as gateway,
    ):
        async with gateway.http(tenancy.key) as http:
            for _ in range(10):
                assert (await http.post("/api/chat", json=CHAT)).status_code == httpx.codes.OK
            for path in OPERATORS_PAGES:
                assert (await http.get(path)).status_code == httpx.codes.NOT_FOUND, path
        await until(lambda: has_counted(apart, 10))  # the other worker adds its own up ten times a second
        page = (await apart.get("/metrics")).text
        check_labels(page)
        assert 'neuronetz_dependency_up{dependency="ollama"} 1.0' in page
        assert "neuronetz_loop_lag_seconds_count" in page
        await until(lambda: has_said(gateway, f"Metrics: http://127.0.0.1:{port}/metrics"))
        assert (await apart.post("/metrics")).status_code == httpx.codes.METHOD_NOT_ALLOWED
        for path in ("/", "/healthz", "/readyz", "/api/tags", "/account", "/metrics/", "//metrics", "/METRICS"):
            assert (await apart.get(path, headers=tenancy.bearer)).status_code == httpx.codes.NOT_FOUND, path
    async with httpx.AsyncClient(verify=NO_TLS, trust_env=False) as http:
        with pytest.raises(httpx.ConnectError):
            await http.get(f"http://127.0.0.1:{port}/metrics")
    assert len(ollama.hits) == 10


async def has_counted(apart: httpx.AsyncClient, requests: int) -> bool:
    page = (await apart.get("/metrics")).text
    return f'neuronetz_requests_total{{endpoint="/api/chat",outcome="completed",status="200"}} {requests}.0' in page


async def has_said(gateway: GatewayProcess, words: str) -> bool:
    return words in gateway.log.read_text()


async def test_a_port_that_is_taken_is_named_with_its_setting(
    zygote: Zygote, stores: Stores, ollama: FakeOllama, tmp_path: Path
) -> None:
    taken = int(ollama.base_url.rpartition(":")[2])
    env_file = write_env_file(
        tmp_path / "gateway.env", make_settings(stores, ollama.base_url, metrics_port=taken, redis_timeout_s=1)
    )
    with pytest.raises(RuntimeError, match=f"METRICS_PORT={taken + 1}"):
        async with gateway_fork(zygote, env_file):
            pass


async def test_without_one_they_are_a_page_of_the_gateway_unless_switched_off(
    gateway: LiveGateway, stores: Stores, ollama: FakeOllama
) -> None:
    async with gateway.http() as http:
        assert "neuronetz_in_flight 1.0" in (await http.get("/metrics")).text
        for path in OPERATORS_PAGES[1:]:
            assert (await http.get(path)).status_code == httpx.codes.NOT_FOUND, path
    async with live_gateway(stores, ollama.base_url, metrics_enabled=False) as other, other.http() as http:
        assert (await http.get("/metrics")).status_code == httpx.codes.NOT_FOUND


def hostile_requests(chosen: random.Random, keys: list[str]) -> Iterator[tuple[str, str, dict[str, str], bytes]]:
    """Endless: method, path, headers, body; everything that a stranger may choose is new each time."""
    paths = [endpoint.path for endpoint in ENDPOINTS if endpoint.prefix is None]
    while True:
        word = "".join(chosen.choices(string.ascii_letters, k=12)) + CANARY
        method = chosen.choice(["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", word.upper()])
        path = chosen.choice([f"/{word}", f"/api/{word}", f"/v1/models/{word}", f"/v1/{word}?x={word}", *paths])
        key = chosen.choice([*keys, f"nz_{word}"])
        headers = {"authorization": f"Bearer {key}", "user-agent": word, "x-request-id": word}
        body = chosen.choice([b"", b"{", b'{"model": "' + word.encode() + b'", "messages": [], "prompt": "x"}'])
        yield method, path, headers, body


@pytest.mark.parametrize("count", [200, pytest.param(500, marks=pytest.mark.full)])
async def test_whatever_strangers_and_tenants_send_adds_no_series_without_end(
    gateway: LiveGateway, ollama: FakeOllama, count: int
) -> None:
    """Two waves of requests, no two alike: a word of theirs in a label would be a series more for each."""
    print(f"seed {SEED}")
    ollama.models = ("fakea:latest",)
    tenancies = [await make_tenancy(gateway.services, models=["fakea"]) for _ in range(3)]
    tenancies += [await make_tenancy(gateway.services) for _ in range(3)]
    keys = [tenancy.key for tenancy in tenancies]
    sizes = []
    async with gateway.http() as http:
        for seed in (SEED, SEED + 1):
            wave = hostile_requests(random.Random(seed), keys)
            for _ in range(count):
                method, path, headers, body = next(wave)
                await http.request(method, path, headers=headers, content=body)
            for status in range(400, 600, 25):
                ollama.next(Script(status=status, error=CANARY))
                await http.post("/api/chat", json=CHAT, headers=tenancies[-1].bearer)
            page = (await http.get("/metrics")).text
            sizes.append(len(series(page)))
            check_labels(page)
            held = [tenancy.tenant.name for tenancy in tenancies] + [tenancy.api_key.prefix for tenancy in tenancies]
            for secret in (CANARY, "nz_", *held, *keys, *(tenancy.api_key.name for tenancy in tenancies)):
                assert secret.lower() not in page.lower()
    print(f"series: {sizes}")
    assert sizes[1] - sizes[0] < 100, "a few combinations of endpoint, status and outcome may come late"
