"""What callers write into what is logged breaks no line, steers no terminal, spoils no export."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from rich.text import Text

from neuronetz_gateway.cli.audit import list_rows
from neuronetz_gateway.wiring import Services
from tests.support.commands import Terminal, command
from tests.support.factories import Tenancy, make_tenancy
from tests.support.fake_ollama import FakeOllama
from tests.support.forks import Zygote
from tests.support.gateways import GatewayProcess, gateway_fork, make_settings, write_env_file
from tests.support.raw_http import RawAnswer, send_raw
from tests.support.stores import Stores

# What would end a line, begin another record, draw on a terminal, turn a text around, or end a string.
HOSTILE = (
    b'\r\n{"event":"request","forged":true}\r\n', b"\r", b"\n", b"\t", b"\x00", b"\x1b[2J\x1b]0;title\x07",
    b"\x7f", b"\x9b31m", b"\xc2\x9b31m", b'"', b"'", b"\\", b"\\u000a", b"%0a%0d%1b%00", b"%ff%fe%c3%28",
    b"\xff\xfe", b"\xc3\x28", b"\xed\xa0\x80", "\u202egnp.exe\u2069".encode(), "a\u200b\u2060\ufeffb".encode(),
    "\u2028\u2029".encode(), "\x85".encode(), "\U000e0041\U000e007f".encode(), "grün 日本 \U0001f600".encode(),
    b"=cmd|' /C calc'!A0", b"[bold red]x[/]", b"x" * 5_000, b"%41" * 5_000, b"${jndi:ldap://x}", b"{}{0}%s%(x)s",
)  # fmt: skip


@pytest.fixture
async def gateway(zygote: Zygote, stores: Stores, ollama: FakeOllama, tmp_path: Path) -> AsyncIterator[GatewayProcess]:
    settings = make_settings(stores, ollama.base_url, trusted_proxies="127.0.0.1/32", auth_failures_per_minute=10_000)
    async with gateway_fork(zygote, write_env_file(tmp_path / "gateway.env", settings), "--json") as process:
        yield process


def requests_of(hostile: bytes, key: bytes) -> Iterator[bytes]:
    """One request a field that a caller writes, with a good key and without one."""
    model = json.dumps(hostile.decode("utf-8", "surrogateescape").encode("utf-8", "replace").decode())
    body = b'{"model":' + model.encode() + b',"messages":[{"role":"user","content":"x"}],"stream":false}'
    good = b"authorization: Bearer " + key + b"\r\n"
    for credential in (good, b""):
        yield _request(b"GET", b"/v1/" + hostile, credential)
        yield _request(b"GET", b"/api/delete/" + hostile, credential)
        yield _request(b"GET", b"/v1/models/" + hostile, credential)
        yield _request(b"GET", b"/api/tags?" + hostile, credential)
        yield _request(hostile, b"/api/tags", credential)
        yield _request(b"GET", b"/api/tags", credential + b"x-request-id: " + hostile + b"\r\n")
        yield _request(b"GET", b"/api/tags", credential + b"user-agent: " + hostile + b"\r\n")
        yield _request(b"GET", b"/api/tags", credential + b"x-forwarded-for: " + hostile + b"\r\n")
        yield _request(b"GET", b"/api/tags", credential + b"x-forwarded-for: 192.0.2.1, " + hostile + b"\r\n")
        yield _request(b"POST", b"/api/chat", credential, body)
    yield _request(b"GET", b"/api/tags", b"authorization: Bearer " + hostile + b"\r\n")
    yield _request(b"GET", b"/api/tags", b"authorization: Bearer nz_" + hostile + b"\r\n")
    yield _request(b"GET", b"/v1/messages", b"x-api-key: " + hostile + b"\r\n")
    yield _request(b"GET", b"/api/tags", good + b"host: " + hostile + b"\r\n")


def _request(method: bytes, target: bytes, headers: bytes, body: bytes = b"") -> bytes:
    length = b"content-length: %d\r\n" % len(body)
    if b"host: " not in headers:
        length = b"host: gateway\r\n" + length
    return method + b" " + target + b" HTTP/1.1\r\nconnection: close\r\n" + length + headers + b"\r\n" + body


async def answers(gateway: GatewayProcess, tenancy: Tenancy) -> list[RawAnswer]:
    """The answers of the gateway itself: what is no HTTP at all the parser answers, without a name for the request."""
    turns = itertools.chain.from_iterable(requests_of(hostile, tenancy.key.encode()) for hostile in HOSTILE)
    found: list[RawAnswer] = []

    async def lane() -> None:
        found.extend([await send_raw(gateway.base_url, request, timeout_seconds=30) for request in turns])

    await asyncio.gather(*(lane() for _ in range(16)))
    return found


@pytest.mark.promise("D4")
async def test_every_line_is_one_event_and_every_row_can_be_shown(
    gateway: GatewayProcess, management: Services, stores: Stores, tmp_path: Path
) -> None:
    tenancy = await make_tenancy(management)
    found = await answers(gateway, tenancy)
    named = [answer for answer in found if answer.header("x-request-id")]
    assert {answer.status for answer in named} >= {200, 401, 403, 404}
    assert not {answer.status for answer in found} & {500, 502, 503}
    async with asyncio.timeout(30):
        while (log := gateway.log.read_bytes()).count(b'"event":"request"') < len(named) + 1:
            await asyncio.sleep(0.05)  # a line comes after its answer
    lines = log.split(b"\n")
    assert lines.pop() == b""
    events = [_event(line) for line in lines]
    requests = [event for event in events if event.get("event") == "request"]
    health = [event for event in requests if event["path"] == "/healthz"]
    print(f"D4: {len(found)} requests, {len(named)} of them HTTP: {len(lines)} lines, all of them JSON, none forged")
    assert len(requests) - len(health) == len(named)
    assert {event["request_id"] for event in requests} >= {answer.header("x-request-id") for answer in named}
    assert not any("forged" in event for event in events)
    assert tenancy.key[12:].encode() not in log

    # what strangers did is written down at the end of the minute, or of the process
    gateway.process.terminate()
    await asyncio.wait_for(gateway.process.wait(), 30)
    rows = await stores.fetch("select * from audit_log")
    await _check_rows(rows, sum(answer.status >= 400 for answer in named))
    await _check_commands(tmp_path / "gateway.env", len(rows))


def _event(line: bytes) -> dict[str, Any]:
    text = line.decode()
    assert text.isprintable(), text
    event: dict[str, Any] = json.loads(text)
    assert all(str(value).isprintable() for value in event.values()), event
    assert len(line) < 3_000, line
    return event


async def _check_rows(rows: list[dict[str, Any]], refused: int) -> None:
    assert sum(row["occurrences"] for row in rows if row["outcome"] == "refused") <= refused
    for row in rows:
        texts = [value for value in row.values() if isinstance(value, str)]
        assert all(text.isprintable() and len(text) <= 512 for text in texts), row
    assert {"\\x9b31m", '"', "x" * 200} <= {row["user_agent"] for row in rows}


async def _check_commands(env_file: Path, rows: int) -> None:
    terminal = Terminal()
    with redirect_stdout(terminal):
        await asyncio.to_thread(list_rows, limit=10_000, env_file=env_file)
    shown = Text.from_ansi(terminal.getvalue()).plain
    assert shown.replace("\n", "").isprintable()
    exported = await asyncio.to_thread(command, "audit", "export", env_file=env_file)
    lines = exported.out.splitlines()
    assert len(lines) == rows
    assert all(line.isascii() and line.isprintable() and json.loads(line) for line in lines)
    table = await asyncio.to_thread(command, "audit", "export", "--format", "csv", env_file=env_file)
    assert len(table.out.splitlines()) == rows + 1
