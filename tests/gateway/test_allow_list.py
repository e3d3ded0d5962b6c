"""The allow-list of models holds on every route, in every spelling of a name."""

import itertools
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence

import httpx
import pytest

from neuronetz_gateway.domain.model_name import ModelNameError, canonical
from neuronetz_gateway.surfaces.catalog import ENDPOINTS
from neuronetz_gateway.surfaces.surface import Endpoint
from neuronetz_gateway.upstream.transport import OllamaTransport
from tests.support.factories import make_tenancy
from tests.support.fake_ollama import FakeOllama
from tests.support.gateways import LiveGateway, live_gateway
from tests.support.model_spellings import elsewhere, equivalents, path_spellings
from tests.support.raw_http import request_bytes, send_raw
from tests.support.stores import Stores
from tests.support.valid_bodies import INFERRING, READING, body_of, name_of

ALLOWED, FORBIDDEN = "fakea", "fakeb"
REFUSALS = {400, 403, 404}
NAMED = tuple(endpoint for endpoint in ENDPOINTS if endpoint.prefix is not None)
LISTING = tuple(endpoint for endpoint in ENDPOINTS if endpoint.shown and not endpoint.asks and endpoint.prefix is None)


@pytest.fixture
async def quiet_gateway(stores: Stores, ollama: FakeOllama) -> AsyncIterator[LiveGateway]:
    """A gateway that asks the upstream nothing of its own accord, so that all that arrives there is a caller's."""
    async with live_gateway(stores, ollama.base_url, model_facts_refresh_s=0) as live:
        yield live


def is_named(spelling: str, model: str) -> bool:
    """Whether the gateway takes a spelling, which must then mean the model."""
    try:
        return canonical(spelling) == canonical(model)
    except ModelNameError:
        return False


def models_asked(ollama: FakeOllama, route: str) -> set[str]:
    """The spellings that arrived on a route."""
    return {seen.model for seen in ollama.requests if seen.route == route}


async def post(http: httpx.AsyncClient, endpoint: Endpoint, model: str) -> httpx.Response:
    body = json.dumps(body_of(endpoint, model=model)).encode()  # its \\u escapes are the second spelling of a letter
    return await http.post(endpoint.path, content=body)


def pairs(spellings: Sequence[str], step: int) -> Iterator[tuple[Endpoint, str]]:
    """Each spelling on every so-manyth route, each route with every so-manyth spelling."""
    for (row, endpoint), (column, spelling) in itertools.product(enumerate(READING), enumerate(spellings)):
        if (row + column) % step == 0:
            yield endpoint, spelling


@pytest.mark.parametrize("step", [3, pytest.param(1, marks=pytest.mark.full)])
@pytest.mark.promise("A13")
async def test_no_spelling_of_a_name_reaches_a_model_outside_the_list(
    quiet_gateway: LiveGateway, ollama: FakeOllama, step: int
) -> None:
    tenancy = await make_tenancy(quiet_gateway.services, models=[f"{ALLOWED}:latest"])
    forbidden = [*equivalents(FORBIDDEN), *elsewhere(FORBIDDEN), *elsewhere(ALLOWED)]
    async with quiet_gateway.http(tenancy.key, transport=OllamaTransport()) as http:
        for endpoint, spelling in pairs(forbidden, step):
            answer = await post(http, endpoint, spelling)
            assert answer.status_code in REFUSALS, (name_of(endpoint), spelling, answer.text)
            assert not ollama.requests, (name_of(endpoint), spelling)


@pytest.mark.promise("A13")
async def test_every_spelling_that_is_taken_reaches_the_model_under_one_name(
    quiet_gateway: LiveGateway, ollama: FakeOllama
) -> None:
    tenancy = await make_tenancy(quiet_gateway.services, models=[f"{ALLOWED}:latest"])
    async with quiet_gateway.http(tenancy.key, transport=OllamaTransport()) as http:
        for endpoint, spelling in itertools.product(READING, equivalents(ALLOWED)):
            answer = await post(http, endpoint, spelling)
            expected = 200 if is_named(spelling, ALLOWED) else 400
            assert answer.status_code == expected, (name_of(endpoint), spelling, answer.text)
    for endpoint in READING:
        assert models_asked(ollama, endpoint.upstream_path) == {f"{ALLOWED}:latest"}, name_of(endpoint)
    assert not ollama.dangerous_hits


@pytest.mark.promise("A13")
async def test_the_lists_of_key_and_tenant_must_both_hold_the_model(
    quiet_gateway: LiveGateway, ollama: FakeOllama
) -> None:
    tenancy = await make_tenancy(
        quiet_gateway.services,
        models=["fakea:latest", "llama3.2:latest"],
        key_models=["fakea:latest", "fakeb:latest"],
    )
    nothing = await make_tenancy(quiet_gateway.services, models=[])
    async with quiet_gateway.http(tenancy.key) as http, quiet_gateway.http(nothing.key) as http_of_nothing:
        for endpoint in READING:
            names = ("fakea", "fakeb", "llama3.2")
            statuses = {name: (await post(http, endpoint, name)).status_code for name in names}
            assert statuses == {"fakea": 200, "fakeb": 403, "llama3.2": 403}, name_of(endpoint)
            assert (await post(http_of_nothing, endpoint, "fakea")).status_code == 403, name_of(endpoint)
    assert {seen.model for seen in ollama.requests} == {"fakea:latest"}


@pytest.mark.promise("A13", "N2")
@pytest.mark.parametrize("endpoint", NAMED, ids=name_of)
async def test_no_spelling_in_a_path_shows_a_model_outside_the_list(
    quiet_gateway: LiveGateway, ollama: FakeOllama, endpoint: Endpoint
) -> None:
    assert endpoint.prefix is not None
    tenancy = await make_tenancy(quiet_gateway.services, models=[f"{ALLOWED}:latest"])
    names = [*equivalents(FORBIDDEN), *elsewhere(FORBIDDEN), *equivalents(ALLOWED), *elsewhere(ALLOWED)]
    statuses: Counter[int] = Counter()
    targets = list(itertools.chain.from_iterable(map(path_spellings, names)))
    for target in random.Random(13).sample(targets, 250):
        raw = (endpoint.prefix + target).encode("latin-1", "replace").decode("latin-1")
        answer = await send_raw(quiet_gateway.base_url, request_bytes(endpoint.method, raw, key=tenancy.key))
        statuses[answer.status] += 1
        if answer.status == 200:
            assert b"fakea" in answer.body, raw
            assert b"fakeb" not in answer.body, raw
        else:
            assert answer.status in REFUSALS, (raw, answer)
    assert statuses[200] > 5
    assert {seen.target for seen in ollama.requests} <= {endpoint.upstream_path}


@pytest.mark.promise("A13", "A12")
@pytest.mark.parametrize("endpoint", LISTING, ids=name_of)
async def test_a_list_names_no_model_outside_the_list(
    quiet_gateway: LiveGateway, ollama: FakeOllama, endpoint: Endpoint
) -> None:
    ollama.models = ("FakeA:Latest", "fakeb:latest", "library/fakeb:latest", "qwen3:8b", "hf.co/x/fakea:latest")
    tenancy = await make_tenancy(quiet_gateway.services, models=[f"{ALLOWED}:latest"])
    async with quiet_gateway.http(tenancy.key) as http:
        answer = await http.request(endpoint.method, endpoint.path)
    assert answer.status_code == 200
    assert not [name for name in ("fakeb", "qwen3", "hf.co") if name in answer.text.lower()]
    if endpoint.method == "GET":
        assert "fakea" in answer.text.lower()


@pytest.mark.promise("A13", "N6")
@pytest.mark.parametrize("endpoint", INFERRING, ids=name_of)
async def test_a_local_name_of_a_model_elsewhere_reaches_nothing(
    gateway: LiveGateway, ollama: FakeOllama, endpoint: Endpoint
) -> None:
    """A stub in Ollama's own store sends its requests on to another host (OLLAMA §4.1), whatever it is called."""
    ollama.models = ("fakea:latest",)
    ollama.shows("fakea:latest", remote_host="https://ollama.com:443", remote_model="gpt-oss:120b")
    await gateway.services.model_knowledge.refresh()
    tenancy = await make_tenancy(gateway.services)
    async with gateway.http(tenancy.key) as http:
        answer = await http.post(endpoint.path, json=body_of(endpoint))
    assert answer.status_code == 400
    assert "runs elsewhere" in answer.text
    assert not ollama.hits
