"""The fake Ollama misbehaves to the byte, as its script says."""

import asyncio
import contextlib
import hashlib
import json
import socket
import struct
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.support.fake_ollama import Ended, FakeOllama, Fault, Script

CHAT = {"model": "fakea", "messages": [{"role": "user", "content": "hello"}]}
CHAT_ROUTES = ("/api/chat", "/v1/chat/completions")


@contextlib.asynccontextmanager
async def connected(fake: FakeOllama) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(fake.host, fake.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def request(body: object = CHAT, target: str = "/api/chat", head: str = "") -> bytes:
    payload = json.dumps(body).encode()
    start = f"POST {target} HTTP/1.1\r\nHost: localhost\r\n{head}Content-Length: {len(payload)}\r\n\r\n"
    return start.encode() + payload


async def exchange(fake: FakeOllama, sent: bytes) -> bytes:
    """Everything until the fake closes, which `Connection: close` or a fault makes it do."""
    async with connected(fake) as (reader, writer):
        writer.write(sent)
        return await asyncio.wait_for(reader.read(), 5)


async def test_every_record_is_a_chunk_of_its_own_and_the_digest_is_that_of_the_payload() -> None:
    async with FakeOllama() as fake:
        raw = await exchange(fake, request(head="Connection: close\r\n"))
        head, _, rest = raw.partition(b"\r\n\r\n")
        assert b"application/x-ndjson" in head
        payloads = []
        while not rest.startswith(b"0\r\n\r\n"):
            size, _, rest = rest.partition(b"\r\n")
            payloads.append(rest[: int(size, 16)])
            rest = rest[int(size, 16) + 2 :]
        assert [json.loads(payload)["done"] for payload in payloads] == [False] * 8 + [True]
        seen = fake.hits[0]
        assert seen.sent_digest == hashlib.sha256(b"".join(payloads)).hexdigest()
        assert seen.bytes_sent == sum(map(len, payloads))


async def test_the_witness_keeps_the_head_to_the_byte() -> None:
    async with FakeOllama() as fake:
        sent = request(head="X-ODD: a\r\nx-odd: b\r\n")
        async with connected(fake) as (reader, writer):
            writer.write(sent + request(target="/v1/chat/completions"))
            await fake.wait_for(lambda: len(fake.hits) == 2 and fake.in_flight == 0)
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
        first, second = fake.hits
        assert first.raw_head + first.body == sent
        assert second.raw_head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
        assert first.headers[1:3] == [("X-ODD", "a"), ("x-odd", "b")]
        assert (first.model, first.json, first.header("X-Odd")) == ("fakea", CHAT, "a")


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    "fault", [Fault.RESET, Fault.CLOSE, Fault.CLOSE_MID_CHUNK, Fault.GARBAGE_FRAMING, Fault.GARBAGE]
)
@pytest.mark.parametrize("after", [0, 3])
@pytest.mark.parametrize("route", CHAT_ROUTES)
async def test_a_broken_answer_is_broken(fault: Fault, after: int, route: str, *, stream: bool) -> None:
    async with FakeOllama() as fake, httpx.AsyncClient(base_url=fake.base_url) as http:
        fake.script = Script(fault=fault, fault_after_records=after)
        if fault is Fault.GARBAGE:
            answer = await http.post(route, json=CHAT | {"stream": stream})
            assert b"garbage" in answer.content
        else:
            with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
                await http.post(route, json=CHAT | {"stream": stream})
        await fake.wait_idle()
        assert (fake.hits[0].ended, fake.hits[0].tokens_generated) == (Ended.FAULTED, after)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("after", [0, 3])
async def test_a_caller_who_leaves_is_noticed_while_the_answer_hangs(after: int, *, stream: bool) -> None:
    async with FakeOllama() as fake:
        fake.script = Script(fault=Fault.HANG, fault_after_records=after)
        async with connected(fake) as (_, writer):
            writer.write(request(CHAT | {"stream": stream}))
            await fake.wait_for(lambda: len(fake.hits) == 1 and fake.hits[0].tokens_generated == after)
            assert fake.in_flight == 1
        await fake.wait_idle()
        seen = fake.hits[0]
        assert (seen.ended, seen.tokens_generated) == (Ended.CALLER_LEFT, after)
        assert seen.closed_at is not None
        await fake.wait_for(lambda: fake.connections_open == 0)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_caller_who_leaves_stops_a_generation_without_pauses(*, stream: bool) -> None:
    """A generation that never yielded went on to its last token after the caller had left."""
    async with FakeOllama() as fake:
        fake.script = Script(tokens=100_000)
        async with connected(fake) as (_, writer):
            writer.write(request(CHAT | {"stream": stream}))
            await fake.wait_for(lambda: bool(fake.hits and fake.hits[0].tokens_generated > 10))
            writer.transport.abort()
            await fake.wait_idle()
        assert fake.hits[0].ended is Ended.CALLER_LEFT
        assert fake.hits[0].tokens_generated < 50_000


async def test_a_half_close_cancels_as_well() -> None:
    async with FakeOllama() as fake:
        fake.script = Script(gap_seconds=5)
        async with connected(fake) as (_, writer):
            writer.write(request())
            await fake.wait_for(lambda: bool(fake.hits and fake.hits[0].records_sent == 1))
            writer.write_eof()
            await fake.wait_idle()
        assert (fake.hits[0].ended, fake.hits[0].tokens_generated) == (Ended.CALLER_LEFT, 1)


async def test_a_caller_who_leaves_during_the_upload_is_seen_with_half_a_body() -> None:
    async with FakeOllama() as fake:
        async with connected(fake) as (_, writer):
            writer.write(request()[:-10])
            await fake.wait_for(lambda: bool(fake.requests and fake.requests[0].received))
        await fake.wait_idle()
        assert (fake.hits[0].ended, fake.hits[0].body_complete) == (Ended.CALLER_LEFT, False)


async def test_a_gate_holds_the_answer_before_its_head_or_after_some_records() -> None:
    gate, later = asyncio.Event(), asyncio.Event()
    async with FakeOllama() as fake, httpx.AsyncClient(base_url=fake.base_url) as http:
        fake.next(Script(gate=gate), Script(gate=later, gate_after_records=4))
        first = asyncio.create_task(http.post("/api/chat", json=CHAT))
        await fake.wait_for(lambda: len(fake.hits) == 1)
        second = asyncio.create_task(http.post("/api/chat", json=CHAT))
        await fake.wait_for(lambda: len(fake.hits) == 2 and fake.hits[1].records_sent == 4)
        assert (fake.hits[0].records_sent, fake.in_flight, fake.max_in_flight) == (0, 2, 2)
        gate.set()
        later.set()
        assert (await first).content == (await second).content


async def test_usage_can_be_absent_zero_or_wrong_while_the_cap_is_overrun() -> None:
    async with FakeOllama() as fake, httpx.AsyncClient(base_url=fake.base_url) as http:
        body = CHAT | {"stream": False, "options": {"num_predict": 4}}
        fake.next(
            Script(omit_usage=True), Script(zero_usage=True), Script(overrun_tokens=6), Script(reported_output_tokens=1)
        )
        answers = [(await http.post("/api/chat", json=body)).json() for _ in range(4)]
        assert [answer.get("eval_count") for answer in answers] == [None, None, 10, 1]
        assert [seen.tokens_generated for seen in fake.hits] == [4, 4, 10, 4]


async def test_max_completion_tokens_is_ignored_as_ollama_ignores_it() -> None:
    async with FakeOllama() as fake, httpx.AsyncClient(base_url=fake.base_url) as http:
        await http.post("/v1/chat/completions", json=CHAT | {"max_completion_tokens": 2})
        await http.post("/v1/chat/completions", json=CHAT | {"max_tokens": 2})
        assert [seen.tokens_generated for seen in fake.hits] == [8, 2]


async def test_a_wrong_length_a_slow_drip_and_a_huge_record() -> None:
    async with FakeOllama() as fake, httpx.AsyncClient(base_url=fake.base_url) as http:
        fake.next(Script(content_length_delta=10))
        with pytest.raises(httpx.RemoteProtocolError):
            await http.post("/api/chat", json=CHAT | {"stream": False})
        fake.next(Script(content_length_delta=-1))
        assert not (await http.post("/api/chat", json=CHAT | {"stream": False})).text.endswith("}")
    async with FakeOllama() as fake, httpx.AsyncClient(base_url=fake.base_url) as http:
        fake.next(Script(huge_record_bytes=300_000, tokens=1), Script(tokens=1, bytes_per_second=4000))
        assert len((await http.post("/api/chat", json=CHAT)).content) > 300_000
        started = asyncio.get_running_loop().time()
        assert (await http.post("/api/chat", json=CHAT)).status_code == 200
        assert asyncio.get_running_loop().time() - started > 0.1


@pytest.mark.parametrize("pad_bytes", [8_000_000, 10_000])
async def test_an_unread_body_stays_with_the_caller_until_he_leaves(pad_bytes: int) -> None:
    """A FIN behind a full window does not get through, in any server; a reset does."""
    async with FakeOllama() as fake:
        fake.next(Script(unread_body=True))
        async with connected(fake) as (_, writer):
            writer.write(request(CHAT | {"pad": "x" * pad_bytes}))
            await fake.wait_for(lambda: len(fake.hits) == 1)
            assert len(fake.hits[0].received) < 1_000_000
            if pad_bytes > 1_000_000:
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
            await fake.wait_idle()
        assert fake.hits[0].ended is Ended.CALLER_LEFT


async def test_an_early_answer_does_not_wait_for_the_body() -> None:
    async with FakeOllama() as fake:
        fake.next(Script(unread_body=True, status=500))
        answer = await exchange(fake, request()[:-5])
        assert answer.startswith(b"HTTP/1.1 500 ")
        assert (fake.hits[0].ended, fake.hits[0].body_complete) == (Ended.COMPLETED, False)


@pytest.mark.parametrize(
    ("method", "target", "status", "reached"),
    [
        ("POST", "/api/%70ull", 200, "/api/pull"),
        ("POST", "/api%2Fpull", 200, "/api/pull"),
        ("POST", "/api/pull?x=1", 200, "/api/pull"),
        ("POST", "/api/pull/", 307, ""),
        ("POST", "/api//pull", 307, ""),
        ("POST", "/v1/../api/pull", 307, ""),
        ("POST", "/v1/%2e%2e/api/pull", 404, ""),
        ("POST", "/API/pull", 404, ""),
        ("POST", "/api/pull%00", 404, ""),
        ("POST", "/api/pull;x", 404, ""),
        ("GET", "/api/pull", 405, ""),
        ("GET", "/v1/models/fakea%3Alatest", 200, "/v1/models/:model"),
        ("GET", "/v1/models/library%2Ffakea", 404, ""),
        ("DELETE", "/api/user/keys/abc", 200, "/api/user/keys/:encodedKey"),
    ],
)
async def test_paths_lead_where_gin_leads_them(method: str, target: str, status: int, reached: str) -> None:
    async with FakeOllama() as fake:
        head = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        raw = await exchange(fake, head.encode())
        assert int(raw.split(b" ", 2)[1]) == status
        assert fake.requests[0].route == reached


async def test_foreign_hosts_and_origins_are_forbidden() -> None:
    async with FakeOllama() as fake, httpx.AsyncClient(base_url=fake.base_url) as http:
        assert (await http.get("/api/tags", headers={"Host": "gateway.example.com"})).status_code == 403
        assert (await http.get("/api/tags", headers={"Origin": "https://evil.example"})).status_code == 403
        assert (await http.get("/api/tags")).status_code == 200


async def test_the_body_is_read_as_go_reads_it() -> None:
    async with FakeOllama() as fake, httpx.AsyncClient(base_url=fake.base_url) as http:
        body = b'{"model":"absent","Model":"fakea","prompt":"x","option\xc5\xbf":{"num_predict":2},"stream":false} more'
        answer = await http.post("/api/generate", content=body)
        assert (answer.status_code, answer.json()["eval_count"]) == (200, 2)
        assert (fake.hits[0].model, fake.hits[0].json) == ("fakea", None)


async def test_what_is_no_http_is_kept_apart() -> None:
    async with FakeOllama() as fake:
        assert (await exchange(fake, b"\x16\x03\x01 not http\r\n\r\n")).startswith(b"HTTP/1.1 400")
        assert (len(fake.malformed), fake.requests) == (1, [])
        with pytest.raises(TimeoutError, match="0 requests"):
            await fake.wait_for(lambda: bool(fake.hits), timeout_seconds=0.01)


async def test_the_fake_runs_as_a_process_with_a_log(tmp_path: Path) -> None:
    log = tmp_path / "witness.jsonl"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.support.fake_ollama", "--log", str(log), "--script", '{"tokens": 3}'),
        cwd=Path(__file__).parents[3],
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        base_url = json.loads(await asyncio.wait_for(process.stdout.readline(), 10))["base_url"]
        async with httpx.AsyncClient(base_url=base_url) as http:
            await http.post("/api/chat", json=CHAT)
    finally:
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 5) == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["event"], line["tokens_generated"]) for line in lines] == [("arrived", 0), ("ended", 3)]
    assert (lines[1]["ended"], lines[1]["model"]) == ("completed", "fakea")
