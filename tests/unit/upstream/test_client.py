"""What the gateway asks of its upstream."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from neuronetz_gateway.upstream.client import Upstream
from neuronetz_gateway.upstream.transport import OllamaTransport
from tests.unit.upstream.raw_upstream import CHUNKED, OK, Peer, RawUpstream, chunk


def document(body: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


@pytest.fixture
async def ollama(transport: OllamaTransport, upstream: RawUpstream) -> AsyncIterator[Upstream]:
    ollama = Upstream(transport, upstream.url, probe_timeout_seconds=0.5)
    yield ollama
    await ollama.aclose()


async def test_a_request_goes_up_with_our_own_fields_only(ollama: Upstream, upstream: RawUpstream) -> None:
    for _ in range(2):
        response = await ollama.open("POST", "/api/chat", b'{"a": 1}')
        assert await response.aread() == b"ok"
        assert str(response.request.url) == upstream.url + "/api/chat"
    head, body = upstream.peers[0].requests[1]
    assert body == b'{"a": 1}'
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST /api/chat HTTP/1.1"
    assert {line.split(b":")[0] for line in lines[1:] if line} == {
        b"Host",
        b"Content-Type",
        b"Accept",
        b"Accept-Encoding",
        b"User-Agent",
        b"Content-Length",
    }
    assert b"Host: 127.0.0.1:%d" % upstream.port in lines
    assert len(upstream.peers) == 1


async def test_a_prefix_of_the_base_url_stands_before_every_path(
    transport: OllamaTransport, upstream: RawUpstream
) -> None:
    ollama = Upstream(transport, upstream.url + "/ollama/")
    await (await ollama.open("GET", "/api/ps", b"")).aread()
    assert upstream.peers[0].requests[0][0].startswith(b"GET /ollama/api/ps HTTP/1.1\r\n")
    assert b"Content-" not in upstream.peers[0].requests[0][0]


async def test_every_path_keeps_its_own_target(ollama: Upstream, upstream: RawUpstream) -> None:
    paths = [f"/v1/models/m{number}" for number in range(300)]
    for path in paths:
        await (await ollama.open("GET", path, b"")).aread()
    assert [head.split(b" ")[1].decode() for head, _ in upstream.peers[0].requests] == paths


@pytest.mark.promise("S1")
async def test_a_response_is_given_up_without_an_await(ollama: Upstream, upstream: RawUpstream) -> None:
    await upstream.says(CHUNKED + chunk(b"one\n"))
    response = await ollama.open("POST", "/api/chat", b"{}")
    ollama.abort(response)
    await asyncio.wait_for(upstream.peers[0].gone.wait(), 1)


async def test_a_compressed_answer_is_refused(ollama: Upstream, upstream: RawUpstream) -> None:
    await upstream.says(CHUNKED[:-2] + b"Content-Encoding: gzip\r\n\r\n" + chunk(b"\x1f\x8b"))
    with pytest.raises(httpx.RemoteProtocolError):
        await ollama.open("POST", "/api/chat", b"{}")
    await asyncio.wait_for(upstream.peers[0].gone.wait(), 1)


async def test_it_works_over_any_httpx_transport() -> None:
    async def answer(request: httpx.Request) -> httpx.Response:
        assert request.content == b"{}"
        return httpx.Response(200, text=f"{request.method} {request.url.path} {request.headers['content-type']}")

    ollama = Upstream(httpx.MockTransport(answer), "http://ollama.test")
    response = await ollama.open("POST", "/api/chat", b"{}")
    assert await response.aread() == b"POST /api/chat application/json"
    ollama.abort(response)
    await ollama.aclose()


async def test_it_tells_the_version(ollama: Upstream, upstream: RawUpstream) -> None:
    await upstream.says(document(b'{"version": "0.33.0"}'))
    assert await ollama.version() == "0.33.0"
    assert upstream.peers[0].requests[0][0].startswith(b"GET /api/version HTTP/1.1\r\n")


async def test_it_lists_the_models(ollama: Upstream, upstream: RawUpstream) -> None:
    await upstream.says(document(b'{"models": [{"name": "a:latest"}, {"name": "b:1b"}]}'), document(b'{"models":null}'))
    assert await ollama.models() == ["a:latest", "b:1b"]
    assert await ollama.models() == []
    assert upstream.peers[0].requests[0][0].startswith(b"GET /api/tags HTTP/1.1\r\n")


async def test_it_tells_of_a_model(ollama: Upstream, upstream: RawUpstream) -> None:
    large = b'{"system": "' + b"x" * 1_000_000 + b'"}'
    await upstream.says(document(b'{"template": "x"}'), document(large))
    assert await ollama.show("a:latest") == {"template": "x"}
    assert len((await ollama.show("a:latest"))["system"]) == 1_000_000
    head, body = upstream.peers[0].requests[0]
    assert head.startswith(b"POST /api/show HTTP/1.1\r\n")
    assert body == b'{"model":"a:latest"}'


@pytest.mark.parametrize(
    "answer",
    [
        OK,
        document(b"[]"),
        document(b"{}"),
        document(b'{"version": 1}'),
        document(b"[" * 100_000),
        document(b'{"version": "1"}', b"500 X"),
        document(b"", b"307 X"),
        document(b'{"version": "' + b"1" * 9_000_000 + b'"}'),
        b"garbage",
        b"",
    ],
    ids=["no json", "no object", "no version", "no string", "deep", "500", "307", "too large", "garbage", "silence"],
)
async def test_an_upstream_that_does_not_say_its_version_raises_an_http_error(
    ollama: Upstream, upstream: RawUpstream, transport: OllamaTransport, answer: bytes
) -> None:
    await upstream.says(answer)
    with pytest.raises(httpx.HTTPError):
        await ollama.version()
    assert transport.open_connections - transport.idle_connections <= 1


@pytest.mark.parametrize("body", [b'{"models": [1]}', b'{"models": [{}]}', b'{"models": 1}'])
async def test_a_list_that_is_none_raises_an_http_error(ollama: Upstream, upstream: RawUpstream, body: bytes) -> None:
    await upstream.says(document(body))
    with pytest.raises(httpx.HTTPError):
        await ollama.models()


async def test_a_document_that_trickles_is_given_up_in_time(ollama: Upstream, upstream: RawUpstream) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.say(CHUNKED)
        while True:
            peer.say(chunk(b" "))
            await asyncio.sleep(0.02)

    upstream.script = script
    async with asyncio.timeout(2):
        with pytest.raises(httpx.ReadTimeout):
            await ollama.version()


@pytest.mark.parametrize(
    "base_url",
    ["ollama:11434", "ftp://ollama", "http://", "http://u:p@ollama", "http://ollama/?a=b", "http://ollama/#a"],
)
def test_a_base_url_that_could_mislead_is_refused(base_url: str) -> None:
    with pytest.raises(ValueError, match="base URL"):
        Upstream(httpx.MockTransport(lambda _: httpx.Response(200)), base_url)
