"""The end of a connection: the last answer is read, nobody stays for ever, nothing of a body is told."""

import asyncio
import gc
import json
import socket
import weakref
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from neuronetz_gateway.http import access_log, malformed
from neuronetz_gateway.http.caller_connection import CallerConnection
from neuronetz_gateway.observability import logging
from neuronetz_gateway.wiring import Services
from tests.gateway.test_caller_connections import ImpatientConnection, connected, until_closed
from tests.hostile.raw_requests import BODY, KEY, get, head, sized
from tests.support.factories import make_tenancy
from tests.support.fake_ollama import Ended, FakeOllama, Script
from tests.support.gateways import COMMAND, LiveGateway, gateway_process, live_gateway, make_settings, write_env_file
from tests.support.log_capture import captured_logs
from tests.support.raw_exchange import answer
from tests.support.stores import Stores

CHUNKED = head(b"POST /api/chat HTTP/1.1", b"Transfer-Encoding: chunked")
SECRET = "PatientX-has-fever"


@pytest.fixture
async def gateway(stores: Stores, ollama: FakeOllama) -> AsyncIterator[LiveGateway]:
    async with live_gateway(stores, ollama.base_url) as live:
        yield live


@pytest.fixture
async def impatient(stores: Stores, ollama: FakeOllama) -> AsyncIterator[LiveGateway]:
    async with live_gateway(stores, ollama.base_url, protocol=ImpatientConnection) as live:
        yield live


def connections(gateway: LiveGateway) -> list[CallerConnection]:
    return [each for each in gateway.server.server_state.connections if isinstance(each, CallerConnection)]


async def all_gone(gateway: LiveGateway) -> None:
    async with asyncio.timeout(10):
        while connections(gateway):
            await asyncio.sleep(0.01)


async def reluctant(gateway: LiveGateway) -> socket.socket:
    """A caller's socket whose system takes next to nothing that is not read."""
    parts = urlsplit(gateway.base_url)
    reluctant = socket.socket()
    reluctant.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    reluctant.setblocking(False)
    await asyncio.get_running_loop().sock_connect(reluctant, (parts.hostname, parts.port))
    return reluctant


@pytest.mark.promise("O3", "S4")
@pytest.mark.parametrize("last", [b"nonsense\r\n\r\n", get(b"Connection: close"), get()], ids=["bad", "last", "kept"])
async def test_who_never_reads_its_last_answers_is_given_up(impatient: LiveGateway, last: bytes) -> None:
    """A few KiB of answers that nobody reads start no watch, since so little holds nobody up. With an answer that ends
    the connection behind them, nothing watched it any more: whoever liked, without a key, held it for ever."""
    with await reluctant(impatient) as caller:
        await leave_a_little_unread(impatient, caller)
        await asyncio.get_running_loop().sock_sendall(caller, last)
        await all_gone(impatient)


UNKNOWN_KEY = "nz_" + "0" * 60


@pytest.mark.promise("O3", "S4")
async def test_who_sends_no_more_and_never_reads_is_given_up(impatient: LiveGateway) -> None:
    """Behind the end of what a caller sends the loop closes once what waits has been taken, and nothing watched that:
    whoever was refused a moment after it, and read nothing, held the connection for ever, without a key."""
    with await reluctant(impatient) as caller:
        await leave_a_little_unread(impatient, caller)
        await asyncio.get_running_loop().sock_sendall(caller, sized().replace(KEY, UNKNOWN_KEY.encode()))
        caller.shutdown(socket.SHUT_WR)
        await all_gone(impatient)


@pytest.mark.promise("S1", "S4")
async def test_a_stream_is_ended_where_its_caller_sends_no_more_and_reads_nothing(
    impatient: LiveGateway, ollama: FakeOllama
) -> None:
    """With a little unread, too little for a stall, what the stream wrote after the end was dropped where nobody saw
    it: the model went on to its last token for a caller who had left, who was charged for all of it."""
    ollama.script = Script(tokens=1000, gate=asyncio.Event(), gate_after_records=3)
    tenancy = await make_tenancy(impatient.services)
    asked = json.dumps({**json.loads(BODY), "stream": True}).encode()
    with await reluctant(impatient) as caller:
        await leave_a_little_unread(impatient, caller)
        await asyncio.get_running_loop().sock_sendall(caller, sized(body=asked).replace(KEY, tenancy.key.encode()))
        await ollama.wait_for(lambda: any(hit.records_sent == 3 for hit in ollama.hits))
        caller.shutdown(socket.SHUT_WR)
        await ollama.wait_for(lambda: ollama.in_flight == 0)
        await all_gone(impatient)
    assert [hit.ended for hit in ollama.hits] == [Ended.CALLER_LEFT]


async def leave_a_little_unread(gateway: LiveGateway, caller: socket.socket) -> None:
    """Have answers written that nobody reads, until the first byte of one waits here: too few for a stall."""
    state, asked = gateway.server.server_state, 0
    while not (found := connections(gateway)) or found[0]._wire.get_write_buffer_size() == 0:
        asked += 1
        await asyncio.get_running_loop().sock_sendall(caller, get(target=b"/nothing/" + b"x" * 400))
        while state.total_requests < asked:
            await asyncio.sleep(0)
        await asyncio.sleep(0)  # it is written at the end of its turn
    assert found[0]._wire.get_write_buffer_size() < CallerConnection.max_waiting_bytes


@pytest.mark.promise("A7")
async def test_a_body_that_breaks_is_refused_once_and_told_nowhere(gateway: LiveGateway, stores: Stores) -> None:
    """The connection answered in the place of the application, under a request id of its own: the log had two lines,
    the audit none, and the first twenty characters behind the break stood in the log as the method."""
    tenancy = await make_tenancy(gateway.services)
    with captured_logs(access_log, logging, malformed) as lines:
        async with connected(gateway) as (reader, writer):
            writer.write(CHUNKED.replace(KEY, tenancy.key.encode()) + b'5\r\n{"mod\r\n')
            while not connections(gateway) or not connections(gateway)[0]._busy:
                await asyncio.sleep(0.005)
            writer.write(f"{SECRET} HTTP/9.9\r\n\r\n".encode())
            found = await answer(reader)
            assert await reader.read() == b""
    assert (found.status, json.loads(found.body)) == (400, {"error": "The chunks of the body are malformed."})
    assert [(line["status"], line["reason"]) for line in lines] == [(400, "malformed_request")]
    assert lines[0]["request_id"] == found.fields()["x-request-id"]
    assert SECRET not in str(lines)
    async with asyncio.timeout(10):
        while not (rows := await stores.fetch("select status, reason from audit_log")):
            await asyncio.sleep(0.02)
    assert [(row["status"], row["reason"]) for row in rows] == [(400, "malformed_request")]


@pytest.mark.promise("A7")
async def test_what_follows_a_body_is_not_taken_for_a_method(gateway: LiveGateway) -> None:
    with captured_logs(malformed) as lines:
        async with connected(gateway) as (reader, writer):
            writer.write(sized().replace(KEY, b"nobody")[:-40])
            assert (await answer(reader)).status == 401
            writer.write(BODY[-40:] + f"{SECRET} /api/chat HTTP/1.1\r\n\r\n".encode())
            found = await answer(reader)
            assert await reader.read() == b""
    assert found.status == 400
    assert [(line["method"], line["path"]) for line in lines] == [("POST", "/api/chat"), ("", "")]


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@pytest.mark.parametrize("size_bytes", [500_000, 3_000_000])
async def test_a_refusal_is_read_by_who_sends_its_body_to_the_end(
    gateway: LiveGateway, version: bytes, size_bytes: int
) -> None:
    """With the connection to be closed it was closed at once: unread bytes had the kernel send a reset, which took the
    answer with it. nginx speaks so to what stands behind it, unless it is told otherwise."""
    fields = [b"Host: g", b"Connection: close", b"Content-Length: %d" % size_bytes]
    sent = b"\r\n".join([b"POST /api/chat HTTP/" + version, *fields]) + b"\r\n\r\n"
    for _ in range(5):
        async with connected(gateway) as (reader, writer):
            writer.write(sent)
            for _ in range(size_bytes // 10_000):
                writer.write(b"x" * 10_000)
                await writer.drain()
            assert (await answer(reader)).status == 401
            assert await reader.read() == b""
    await all_gone(gateway)


async def test_who_goes_on_sending_after_the_last_answer_is_not_read_for_ever(impatient: LiveGateway) -> None:
    async with connected(impatient) as (reader, writer):
        writer.write(b"POST /api/chat HTTP/1.0\r\nHost: g\r\nContent-Length: 900000\r\n\r\n")
        assert (await answer(reader)).status == 401
        assert await reader.read() == b""
        async with asyncio.timeout(5):
            while connections(impatient):
                writer.write(b"x")
                await asyncio.sleep(0.02)


async def test_what_stands_behind_the_last_body_is_no_request(gateway: LiveGateway, ollama: FakeOllama) -> None:
    tenancy = await make_tenancy(gateway.services)
    async with connected(gateway) as (reader, writer):
        writer.write(sized(b"Connection: close").replace(KEY, b"nobody")[:-10])
        assert (await answer(reader)).status == 401
        writer.write(BODY[-10:] + sized().replace(KEY, tenancy.key.encode()))
        assert await until_closed(reader) == b""
    assert ollama.requests == []


@pytest.mark.parametrize(("key", "status", "closed"), [("good", 200, False), ("bad", 401, True)])
async def test_who_is_refused_before_100_continue_is_told_that_the_connection_ends(
    gateway: LiveGateway, key: str, status: int, closed: bool
) -> None:
    """It was kept: the gateway then took for the body what a proxy, taking the refusal for the end, sent as its next
    request (as Go's client did, CVE-2024-24791)."""
    tenancy = await make_tenancy(gateway.services)
    sent = sized(b"Expect: 100-continue").replace(KEY, tenancy.key.encode() if key == "good" else b"nobody")
    async with connected(gateway) as (reader, writer):
        writer.write(sent[: -len(BODY)])
        if key == "good":
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(BODY)
        found = await answer(reader)
        assert found.status == status
        assert (found.fields().get("connection") == "close") is closed
        if closed:
            assert await reader.read() == b""


async def test_bodies_that_are_never_whole_share_the_room_however_small(stores: Stores, ollama: FakeOllama) -> None:
    """Room was taken from 64 KiB on: ten thousand callers who stopped just before held 650 MB with one key."""
    async with live_gateway(stores, ollama.base_url, max_body_bytes=16_384, max_bodies_bytes=32_768) as gateway:
        tenancy = await make_tenancy(gateway.services)
        half = CHUNKED.replace(KEY, tenancy.key.encode()) + b"2000\r\n" + b" " * 0x2000 + b"\r\n"
        async with connected(gateway) as first, connected(gateway) as second, connected(gateway) as third:
            answers = []
            for reader, writer in (first, second, third):
                writer.write(half)
                answers.append(asyncio.create_task(answer(reader)))
            refused, waiting = await asyncio.wait(answers, return_when=asyncio.FIRST_COMPLETED)
            (found,) = [each.result() for each in refused]  # whose bytes were read last: there is room for two
            assert (found.status, b"MAX_BODIES_BYTES" in found.body) == (503, True)
            for each in waiting:
                each.cancel()
            await asyncio.wait(waiting)
        async with gateway.http(tenancy.key) as http:
            assert (await http.post("/api/chat", content=BODY)).status_code == 200


async def test_a_gateway_takes_as_many_open_files_as_it_may_have(
    management: Services, stores: Stores, ollama: FakeOllama, env_path: Path
) -> None:
    """A shell gives 1,024, of which every caller takes two: 500 of them kept all others out."""
    tenancy = await make_tenancy(management)
    env_file = write_env_file(env_path, make_settings(stores, ollama.base_url))
    shell = ("sh", "-c", 'ulimit -Sn 64; exec "$0" "$@"', COMMAND)
    async with gateway_process(env_file, command=shell) as gateway, gateway.http(tenancy.key) as http:
        waiting = [await asyncio.open_connection("127.0.0.1", urlsplit(gateway.base_url).port) for _ in range(100)]
        assert (await http.post("/api/chat", content=BODY)).status_code == 200
        for _, writer in waiting:
            writer.close()


async def test_there_is_room_for_so_many_connections(gateway: LiveGateway) -> None:
    gateway.server._state.max_connections = 3
    async with connected(gateway) as one, connected(gateway), connected(gateway):
        while len(connections(gateway)) < 3:
            await asyncio.sleep(0.005)
        async with connected(gateway) as (reader, _):
            assert await until_closed(reader) == b""
        one[1].write(get(target=b"/healthz"))
        assert (await answer(one[0])).status == 200
    async with gateway.http() as http:
        page = (await http.get("/metrics")).text
    assert 'neuronetz_refusals_total{reason="too_many_connections"} 1.0' in page


async def test_a_connection_that_is_gone_leaves_nothing_to_collect(gateway: LiveGateway) -> None:
    """A connection and what it writes to held each other: 7 MiB for each 1,000 of them, until a collection came."""
    kept: list[weakref.ref[CallerConnection]] = []
    gc.collect()
    gc.disable()
    try:
        for _ in range(5):
            async with connected(gateway) as (reader, writer):
                writer.write(get(target=b"/healthz"))
                assert (await answer(reader)).status == 200
                kept += [weakref.ref(each) for each in connections(gateway)]
            await all_gone(gateway)
        await asyncio.sleep(0.05)  # the loop's own last look at them
        assert [each() for each in kept] == [None] * 5
    finally:
        gc.enable()
