"""Every answer says what is left of the limits, as a count from outside finds it."""

import asyncio
import itertools
from collections import Counter
from datetime import UTC, datetime
from typing import Any, ClassVar

import httpx
import pytest

from neuronetz_gateway.domain.budget import Period
from neuronetz_gateway.domain.limit import Limits
from neuronetz_gateway.wiring import Services
from tests.support.factories import Tenancy, make_key, make_tenancy
from tests.support.fake_ollama import FakeOllama, Fault, Script
from tests.support.fleet import Member
from tests.support.gateways import LiveGateway, free_port, live_gateway
from tests.support.limit_headers import ANTHROPIC, NATIVE, OPENAI, TONGUES, Told, Tongue, none_of
from tests.support.stores import Stores

CAP = 10


async def ask(http: httpx.AsyncClient, tongue: Tongue, **body: Any) -> httpx.Response:
    return await http.post(tongue.path, json=tongue.body(cap=CAP) | body)


async def charged(stores: Stores, tenancy: Tenancy, count: int) -> list[dict[str, Any]]:
    """The audit rows of a key's admitted requests, the oldest first, once there are `count`."""
    query = """select reserved_tokens, charged_tokens, status from audit_log
               where api_key_id = $1 and outcome <> 'refused' order by admitted_at"""
    async with asyncio.timeout(10):
        while len(rows := await stores.fetch(query, tenancy.api_key.id)) < count:
            await asyncio.sleep(0.02)
    return rows


def estimate_of(row: dict[str, Any]) -> int:
    """What a request held of its tokens a minute: a third of its prompt's bound, its output cap (DESIGN §4)."""
    return int(row["reserved_tokens"] - CAP) // 3 + CAP


@pytest.mark.promise("L7")
@pytest.mark.parametrize("tongue", TONGUES, ids=lambda tongue: tongue.path)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_an_answer_tells_limit_rest_and_reset(
    gateway: LiveGateway, stores: Stores, tongue: Tongue, stream: bool
) -> None:
    tenancy = await make_tenancy(gateway.services, key_limits=Limits(rpm=7, tpm=5_000), tenant_limits=Limits(rpm=9))
    async with gateway.http(tenancy.key) as http:
        before = datetime.now(UTC)
        answer = await ask(http, tongue, stream=stream)
    assert answer.status_code == 200, answer.text
    (row,) = await charged(stores, tenancy, 1)
    requests, tokens = tongue.told(answer.headers, "requests"), tongue.told(answer.headers, "tokens")
    assert requests is not None
    assert tokens is not None
    assert (requests.limit, requests.left) == (7, 6)
    assert (tokens.limit, tokens.left) == (5_000, 5_000 - estimate_of(row))
    assert requests.reset == tokens.reset  # both lie in the bucket of the second of this request
    if isinstance(requests.reset, datetime):
        assert 60 <= (requests.reset - before.replace(microsecond=0)).total_seconds() <= 63
    else:
        assert requests.reset is not None
        assert 60 <= requests.reset <= 61
    assert sum("ratelimit" in name for name in answer.headers) == 6


class Outside:
    """A count beside the gateway's, of one tenant with two keys, for less than a minute."""

    rpm: ClassVar = {"tenant": 16, 0: 9, 1: 12}

    def __init__(self) -> None:
        self.requests: Counter[int] = Counter()
        self.tokens: Counter[int] = Counter()

    def requests_left(self, key: int) -> tuple[int, int]:
        """The limit that binds a key, the key's own of equals, with what is left of it."""
        of_key = self.rpm[key] - self.requests[key]
        of_tenant = self.rpm["tenant"] - self.requests.total()
        return (self.rpm["tenant"], of_tenant) if of_tenant < of_key else (self.rpm[key], of_key)

    def tokens_left(self, key: int) -> tuple[int, int]:
        """The same of tokens; the second key has no limit of its own."""
        of_key, of_tenant = 80_000 - self.tokens[0], 90_000 - self.tokens.total()
        return (90_000, of_tenant) if key == 1 or of_tenant < of_key else (80_000, of_key)


@pytest.mark.promise("L7")
async def test_what_is_told_equals_an_outside_count_over_mixed_traffic(gateway: LiveGateway, stores: Stores) -> None:
    """Two keys on all three protocols, with refusals between; the limits of key and tenant bind in turn."""
    first = await make_tenancy(
        gateway.services,
        tenant_limits=Limits(rpm=16, tpm=90_000),
        key_limits=Limits(rpm=9, tpm=80_000),
        models=["fakea:latest"],
    )
    keys = (first, await make_key(gateway.services, first.tenant, limits=Limits(rpm=12)))
    outside, bound_by = Outside(), Counter[int]()
    for turn, tongue in zip(range(20), itertools.cycle(TONGUES)):
        key = turn % 2 if turn < 12 else 1
        limit, left = outside.requests_left(key)
        tokens_limit, tokens_left = outside.tokens_left(key)
        async with gateway.http(keys[key].key) as http:
            assert (await ask(http, tongue, model="fakeb")).status_code == 403
            answer = await ask(http, tongue)
        requests, tokens = tongue.told(answer.headers, "requests"), tongue.told(answer.headers, "tokens")
        assert requests is not None
        assert tokens is not None
        bound_by[requests.limit] += 1
        if left == 0:
            assert (answer.status_code, requests.limit, requests.left) == (429, limit, 0)
            assert (tokens.limit, tokens.left) == (tokens_limit, tokens_left)
            continue
        assert (answer.status_code, requests.limit, requests.left) == (200, limit, left - 1)
        outside.requests[key] += 1
        row = (await charged(stores, keys[key], outside.requests[key]))[-1]
        assert (tokens.limit, tokens.left) == (tokens_limit, tokens_left - estimate_of(row))
        outside.tokens[key] += row["charged_tokens"]
    assert outside.requests.total() == 16
    assert set(bound_by) == {9, 12, 16}


@pytest.mark.promise("L7")
async def test_of_fifty_at_once_each_is_told_another_rest(
    two_gateways: tuple[Member, Member], management: Services, ollama: FakeOllama
) -> None:
    tenancy = await make_tenancy(management, key_limits=Limits(rpm=60), tenant_limits=Limits(rpm=100))
    turns = list(zip(range(50), itertools.cycle(TONGUES)))

    async def told(http: httpx.AsyncClient, tongue: Tongue) -> Told | None:
        answer = await ask(http, tongue)
        assert answer.status_code == 200
        return tongue.told(answer.headers, "requests")

    async with two_gateways[0].http(tenancy.key) as one, two_gateways[1].http(tenancy.key) as other:
        rests = await asyncio.gather(*(told((one, other)[turn % 2], tongue) for turn, tongue in turns))
    assert sorted(rest.left for rest in rests if rest) == list(range(10, 60))
    assert {rest.limit for rest in rests if rest} == {60}
    assert len(ollama.hits) == 50


@pytest.mark.promise("L7")
@pytest.mark.parametrize("tongue", TONGUES, ids=lambda tongue: tongue.path)
async def test_a_refusal_by_a_limit_tells_what_is_left(gateway: LiveGateway, tongue: Tongue) -> None:
    tenancy = await make_tenancy(gateway.services, key_limits=Limits(rpm=2, tpm=50_000), tenant_limits=Limits(rpm=50))
    async with gateway.http(tenancy.key) as http:
        last = [await ask(http, tongue) for _ in range(2)][1]
        refused = [await ask(http, tongue) for _ in range(3)]
    admitted = tongue.told(last.headers, "tokens")
    assert admitted is not None
    for answer in refused:
        requests, tokens = tongue.told(answer.headers, "requests"), tongue.told(answer.headers, "tokens")
        assert answer.status_code == 429
        assert requests is not None
        assert tokens is not None
        assert (requests.limit, requests.left) == (2, 0)
        assert requests.reset is not None
        assert (tokens.limit, tokens.reset is None) == (50_000, False)
        assert tokens.left > admitted.left  # the estimate was settled meanwhile


@pytest.mark.promise("L2", "L7")
async def test_a_refusal_by_tokens_tells_the_tokens_that_are_left(gateway: LiveGateway, ollama: FakeOllama) -> None:
    tenancy = await make_tenancy(gateway.services, key_limits=Limits(tpm=1_000))
    ollama.script = Script(tokens=600, prompt_tokens=100)
    async with gateway.http(tenancy.key) as http:
        await http.post(NATIVE.path, json=NATIVE.body(cap=600))
        refused = await http.post(NATIVE.path, json=NATIVE.body(cap=600))
    tokens = NATIVE.told(refused.headers, "tokens")
    assert (refused.status_code, NATIVE.told(refused.headers, "requests")) == (429, None)
    assert tokens is not None
    assert (tokens.limit, tokens.left) == (1_000, 300)
    assert "300 left" in refused.json()["error"]


@pytest.mark.promise("L2", "L7")
async def test_a_refusal_for_too_many_at_once_takes_nothing(gateway: LiveGateway, ollama: FakeOllama) -> None:
    tenancy = await make_tenancy(gateway.services, key_limits=Limits(rpm=10, concurrent=1))
    ollama.script = gated = Script(gate=asyncio.Event())
    async with gateway.http(tenancy.key) as http:
        first = asyncio.create_task(ask(http, OPENAI))
        await ollama.wait_for(lambda: ollama.in_flight == 1)
        refused = [await ask(http, OPENAI) for _ in range(3)]
        assert gated.gate is not None
        gated.gate.set()
        assert (await first).status_code == 200
        after = await ask(http, OPENAI)
    rests = [OPENAI.told(answer.headers, "requests") for answer in (*refused, after)]
    assert [answer.status_code for answer in refused] == [429] * 3
    assert [rest.left for rest in rests if rest] == [9, 9, 9, 8]


@pytest.mark.promise("L2", "L7")
@pytest.mark.parametrize("tongue", TONGUES, ids=lambda tongue: tongue.path)
async def test_a_refusal_by_the_budget_tells_the_figures_without_itself(gateway: LiveGateway, tongue: Tongue) -> None:
    tenancy = await make_tenancy(gateway.services, key_limits=Limits(rpm=10, tpm=5_000))
    async with gateway.http(tenancy.key) as http:
        await gateway.services.budgets.set_for_tenant(tenancy.tenant.name, {Period.TOTAL: 1})
        only = [await ask(http, tongue) for _ in range(3)]
        await gateway.services.budgets.set_for_tenant(tenancy.tenant.name, {Period.TOTAL: None})
        served = await ask(http, tongue)
        await gateway.services.budgets.set_for_tenant(tenancy.tenant.name, {Period.TOTAL: 1})
        beside = await ask(http, tongue)
    for answer in only:
        requests, tokens = tongue.told(answer.headers, "requests"), tongue.told(answer.headers, "tokens")
        assert answer.status_code == 429
        assert requests is not None
        assert tokens is not None
        assert (requests.left, tokens.left) == (10, 5_000)
        assert requests.reset == tokens.reset
        assert isinstance(requests.reset, datetime) or requests.reset == 0  # nothing is counted, so all is left now
    rest = tongue.told(served.headers, "requests")
    assert rest is not None
    assert rest.left == 9
    rest = tongue.told(beside.headers, "requests")
    assert rest == Told(10, 9, None)  # when the other one is over cannot be known from here
    assert (served.status_code, beside.status_code) == (200, 429)


@pytest.mark.promise("L2", "L7")
async def test_a_model_server_that_is_away_takes_nothing(stores: Stores) -> None:
    async with live_gateway(stores, f"http://127.0.0.1:{free_port()}") as gateway:
        tenancy = await make_tenancy(gateway.services, key_limits=Limits(rpm=10, tpm=5_000))
        async with gateway.http(tenancy.key) as http:
            answers = [await ask(http, ANTHROPIC) for _ in range(3)]
            account = (await http.get("/account")).json()
    for answer in answers:
        requests, tokens = ANTHROPIC.told(answer.headers, "requests"), ANTHROPIC.told(answer.headers, "tokens")
        assert answer.status_code == 503
        assert requests is not None
        assert tokens is not None
        assert (requests.left, tokens.left) == (10, 5_000)
    assert account["limits"]["key"]["rpm"] == {"limit": 10, "left": 10, "resets_in_seconds": 0}
    assert account["limits"]["key"]["tpm"] == {"limit": 5_000, "left": 5_000, "resets_in_seconds": 0}


@pytest.mark.promise("L2", "L7")
@pytest.mark.parametrize("tongue", TONGUES, ids=lambda tongue: tongue.path)
async def test_what_the_model_server_refused_stays_counted_without_tokens(
    gateway: LiveGateway, ollama: FakeOllama, tongue: Tongue
) -> None:
    tenancy = await make_tenancy(gateway.services, key_limits=Limits(rpm=10, tpm=5_000))
    ollama.script = Script(status=500)
    async with gateway.http(tenancy.key) as http:
        answers = [await ask(http, tongue) for _ in range(3)]
        account = (await http.get("/account")).json()
    told = [(tongue.told(answer.headers, "requests"), tongue.told(answer.headers, "tokens")) for answer in answers]
    assert [answer.status_code for answer in answers] == [502] * 3
    assert [(requests.left, tokens.left) for requests, tokens in told if requests and tokens] == [
        (9, 5_000), (8, 5_000), (7, 5_000),
    ]  # fmt: skip
    limits = account["limits"]["key"]
    assert (limits["rpm"]["left"], limits["tpm"]["left"]) == (7, 5_000)


@pytest.mark.promise("L7")
async def test_what_broke_off_before_its_first_byte_is_told_as_it_is_charged(
    gateway: LiveGateway, ollama: FakeOllama, stores: Stores
) -> None:
    tenancy = await make_tenancy(gateway.services, key_limits=Limits(rpm=10, tpm=5_000))
    ollama.script = Script(fault=Fault.RESET)
    async with gateway.http(tenancy.key) as http:
        answer = await ask(http, OPENAI)
        account = (await http.get("/account")).json()
    (row,) = await charged(stores, tenancy, 1)
    tokens = OPENAI.told(answer.headers, "tokens")
    assert answer.status_code == 502
    assert tokens is not None
    assert row["charged_tokens"] > 0
    assert tokens.left == account["limits"]["key"]["tpm"]["left"] == 5_000 - row["charged_tokens"]


REFUSED_BEFORE: list[tuple[dict[str, Any], int]] = [
    ({"model": "fakeb"}, 403),
    ({"messages": "none"}, 400),
    ({"model": "x@y"}, 400),
    ({"max_tokens": 4_000}, 400),  # more than the whole limit
]


@pytest.mark.promise("L2")
@pytest.mark.parametrize("refused", REFUSED_BEFORE, ids=["model", "body", "name", "too large"])
async def test_what_is_refused_before_its_admission_takes_nothing(
    gateway: LiveGateway, refused: tuple[dict[str, Any], int]
) -> None:
    """It never asked the limits, so that its answer tells nothing of them either."""
    tenancy = await make_tenancy(
        gateway.services, key_limits=Limits(rpm=3, tpm=3_000, concurrent=1), models=["fakea:latest"]
    )
    body, status = refused
    async with gateway.http(tenancy.key) as http:
        for _ in range(5):
            answer = await ask(http, OPENAI, **body)
            assert (answer.status_code, none_of(answer.headers)) == (status, True)
        limits = (await http.get("/account")).json()["limits"]["key"]
        assert [limits[axis]["left"] for axis in ("rpm", "tpm", "concurrent")] == [3, 3_000, 1]
        rests = [OPENAI.told((await ask(http, OPENAI)).headers, "requests") for _ in range(3)]
    assert [rest.left for rest in rests if rest] == [2, 1, 0]


@pytest.mark.promise("A3", "L7")
async def test_a_bad_key_is_told_nothing_of_limits(gateway: LiveGateway, stores: Stores) -> None:
    """Also where the key was good a moment ago: its first admission had figures, the second look has none."""
    tenancy = await make_tenancy(gateway.services, key_limits=Limits(rpm=10, tpm=9_000))
    async with gateway.http(tenancy.key) as http:
        assert not none_of((await ask(http, OPENAI)).headers)
        await stores.execute("update api_keys set revoked_at = now() where id = $1", tenancy.api_key.id)
        answers = [await ask(http, OPENAI) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [401, 401]
    assert all(none_of(answer.headers) for answer in answers)


@pytest.mark.promise("L7")
async def test_without_limits_nothing_is_told(gateway: LiveGateway) -> None:
    tenancy = await make_tenancy(gateway.services, key_limits=Limits(concurrent=5))
    async with gateway.http(tenancy.key) as http:
        for tongue in TONGUES:
            answer = await ask(http, tongue)
            assert (answer.status_code, none_of(answer.headers)) == (200, True)


@pytest.mark.promise("L7")
async def test_routes_that_cost_no_tokens_count_as_requests(gateway: LiveGateway) -> None:
    tenancy = await make_tenancy(gateway.services, key_limits=Limits(rpm=10, tpm=5_000))
    async with gateway.http(tenancy.key) as http:
        answers = [await http.get(path) for path in ("/api/tags", "/v1/models", "/api/version")]
    rests = [OPENAI.told(answer.headers, "requests") for answer in answers]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert [rest.left for rest in rests if rest] == [9, 8, 7]
    assert [OPENAI.told(answer.headers, "tokens") for answer in answers] == [Told(5_000, 5_000, 0)] * 3
