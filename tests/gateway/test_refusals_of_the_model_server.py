"""An error status of the model server, as its caller and its operator learn of it."""

import json
from typing import Any

import pytest

from neuronetz_gateway.http import relay
from neuronetz_gateway.surfaces.surface import Endpoint
from tests.gateway.test_broken_answers import booked, saying
from tests.gateway.test_half_records import told
from tests.support.factories import Tenancy, make_tenancy
from tests.support.fake_ollama import FakeOllama, Script
from tests.support.fake_ollama_script import BUSY_MESSAGE
from tests.support.gateways import LiveGateway, live_gateway
from tests.support.log_capture import captured_logs
from tests.support.raw_http import RawAnswer, request_bytes, send_raw
from tests.support.stores import Stores
from tests.support.valid_bodies import INFERRING, body_of, name_of

SIGN_IN = b'{"error":"unauthorized","signin_url":"https://ollama.com/connect?name=box&key=c3NoLWVk"}'
AT_HOME = "open /home/gpu/.ollama/models/blobs/sha256-dde5aa: no such file or directory"
CASES: dict[str, tuple[Script, int, str]] = {
    "the host check": (Script(status=403, error_body=b""), 502, "The model server failed."),
    "the cloud's sign-in": (Script(status=401, error_body=SIGN_IN), 502, "The model server failed."),
    "no such model": (Script(status=404, error="model 'registry.ollama.ai/library/fakea' not found"), 404,
                      "The model server has no model 'fakea:latest'."),
    "no such route": (Script(status=404, error_body=b"404 page not found"), 501, "does not know this endpoint"),
    "native words on every route": (Script(status=400, error_body=b'{"error":"\\"fakea\\" does not support tools"}'),
                                    400, "The model 'fakea:latest' does not support tools."),
    "an option of the wrong type": (Script(status=500, error='option "top_k" must be of type integer'), 400,
                                    "'options.top_k' has the wrong type: it takes a value of type integer."),
    "inner words": (Script(status=500, error=AT_HOME), 502, "The model server failed."),
    "inner words for a bad request": (Script(status=400, error=AT_HOME), 400,
                                      "The model server refused the request."),
    "a redirect": (Script(status=307), 502, "The model server failed."),
    "cancelled": (Script(status=499, error="request canceled"), 502, "The model server failed."),
    "busy": (Script(status=503, error=BUSY_MESSAGE), 503, "The model server is busy."),
    "too many": (Script(status=429, error="rate limited"), 503, "The model server is busy."),
}  # fmt: skip


async def ask(gateway: LiveGateway, tenancy: Tenancy, endpoint: Endpoint) -> RawAnswer:
    body = json.dumps(body_of(endpoint)).encode()
    return await send_raw(gateway.base_url, request_bytes("POST", endpoint.path, key=tenancy.key, body=body))


@pytest.mark.promise("F3", "L6", "B2")
@pytest.mark.parametrize("endpoint", INFERRING, ids=name_of)
async def test_it_is_told_in_the_gateways_words_free_of_charge(
    gateway: LiveGateway, stores: Stores, ollama: FakeOllama, endpoint: Endpoint
) -> None:
    for name, (script, status, said) in CASES.items():
        tenancy = await make_tenancy(gateway.services)
        ollama.next(script)
        with captured_logs(relay) as logs:
            answer = await ask(gateway, tenancy, endpoint)
        assert answer.status == status, (name, answer.body)
        assert said in told(json.loads(answer.body)), name
        for inner in (b"/home/gpu", b"registry", b"signin", b"ollama.com", b"sha256"):
            assert inner not in answer.body, name
        assert (answer.header("retry-after") is not None) is (status == 503), name
        assert answer.header("www-authenticate") is None, name
        for_the_operator = [line["upstream_status"] for line in logs if line["event"] == "model_server_refused"]
        assert for_the_operator == ([script.status] if status in {501, 502} else []), name
        assert AT_HOME not in str(logs), name
        assert await booked(stores, tenancy) == ("upstream_refused", status, 0), name
        assert gateway.services.limiter.open_admissions == 0, name


@pytest.mark.promise("B2")
async def test_a_refusal_whose_words_are_lost_is_free_all_the_same(stores: Stores) -> None:
    """A connection that broke within an error body was charged as an answer that broke, though none was generated."""
    lost = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 90\r\n\r\n" + b'{"error":"server bu'
    async with saying(lost) as upstream, live_gateway(stores, upstream) as gateway:
        tenancy = await make_tenancy(gateway.services)
        assert (await ask(gateway, tenancy, INFERRING[0])).status == 503
        assert await booked(stores, tenancy) == ("upstream_refused", 503, 0)


@pytest.mark.parametrize("endpoint", INFERRING, ids=name_of)
async def test_every_answer_names_its_request(gateway: LiveGateway, ollama: FakeOllama, endpoint: Endpoint) -> None:
    """Served, refused, streamed: `x-request-id`, which Anthropic's SDKs call `request-id`."""
    names = endpoint.surface.request_id_headers
    tenancy = await make_tenancy(gateway.services)
    bodies: list[dict[str, Any]] = [body_of(endpoint), body_of(endpoint, stream=True), {}]
    ollama.script = Script(tokens=2)
    async with gateway.http(tenancy.key) as http:
        http.headers["x-request-id"] = "mine-1"
        answers = [await http.post(endpoint.path, json=body) for body in bodies]
        answers += [await http.post(endpoint.path, json=bodies[0], headers={"authorization": "Bearer nz_bad"})]
        answers += [await http.get(endpoint.path)]
    assert {answer.status_code for answer in answers} >= {200, 400, 401, 404}
    for answer in answers:
        found = {name for name, _ in answer.headers.raw if name.endswith(b"request-id")}
        assert found == set(names), answer.status_code
        assert {answer.headers[name.decode()] for name in names} == {"mine-1"}


def test_anthropic_names_it_twice() -> None:
    named = {endpoint.surface.name: endpoint.surface.request_id_headers for endpoint in INFERRING}
    assert named["anthropic"] == (b"x-request-id", b"request-id")
    assert named["ollama"] == named["openai"] == (b"x-request-id",)


@pytest.mark.promise("B7")
async def test_a_tool_call_that_ollama_cannot_read_costs_its_prompt(
    gateway: LiveGateway, stores: Stores, ollama: FakeOllama
) -> None:
    """Ollama answers 500 to a whole request whose model wrote a malformed tool call, after generating all of it. Taken
    for a refusal it was free: a prompt made to break tool calls kept the machine busy for nothing."""
    tenancy = await make_tenancy(gateway.services)
    ollama.next(Script(status=500, error="error parsing tool call: raw='{\"a\"', err=unexpected end of JSON input"))
    async with gateway.http(tenancy.key) as http:
        answer = await http.post(
            "/v1/chat/completions", json={"model": "fakea", "messages": [{"role": "user", "content": "x"}]}
        )
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "answer_unreadable")
    assert answer.headers["x-should-retry"] == "false"
    outcome, status, charged = await booked(stores, tenancy)
    assert (outcome, status) == ("upstream_broken", 502)
    assert charged > 0
