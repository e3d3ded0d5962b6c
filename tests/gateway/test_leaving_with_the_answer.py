"""Whoever leaves once he has what he wanted pays for it all the same."""

import asyncio
import json
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.gateway.test_budgeting import settled
from tests.support.factories import Tenancy, make_tenancy
from tests.support.fake_ollama import FakeOllama, Script
from tests.support.fake_ollama_parts import ToolCall
from tests.support.gateways import LiveGateway
from tests.support.raw_http import request_bytes
from tests.support.stores import Stores

WORDS = 500
ESSAY = "word " * WORDS
ASK: dict[str, Any] = {"model": "fakea", "messages": [{"role": "user", "content": "x"}], "max_tokens": 600}
CALLING = {
    "/api/chat": ASK | {"options": {"num_predict": 600}},
    "/v1/chat/completions": ASK | {"stream": True},
    "/v1/messages": ASK | {"stream": True},
    "/v1/responses": {"model": "fakea", "input": "x", "stream": True, "max_output_tokens": 600},
}
IN_ONE_PIECE = {
    "/api/chat": CALLING["/api/chat"] | {"stream": False},
    "/api/generate": {"model": "fakea", "prompt": "x", "stream": False, "options": {"num_predict": 600}},
    "/v1/chat/completions": ASK,
    "/v1/completions": {"model": "fakea", "prompt": "x", "max_tokens": 600},
    "/v1/messages": ASK,
    "/v1/responses": CALLING["/v1/responses"] | {"stream": False},
}


async def read_then_leave(gateway: LiveGateway, key: str, path: str, body: Any, enough: Callable[[bytes], bool]) -> int:
    """Reads no faster than it has to, through a small window, until it has enough; returns the words it got."""
    loop, parts = asyncio.get_running_loop(), urlsplit(gateway.base_url)
    request = request_bytes("POST", path, key=key, body=json.dumps(body).encode())
    received = b""
    with socket.socket() as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        caller.setblocking(False)
        await loop.sock_connect(caller, (parts.hostname, parts.port))
        await loop.sock_sendall(caller, request)
        async with asyncio.timeout(10):
            while not enough(received):
                received += await loop.sock_recv(caller, 4096)
    return received.count(b"word ")


async def output_charged(stores: Stores, tenancy: Tenancy) -> int:
    await settled(stores, tenancy)
    [row] = await stores.fetch("select * from audit_log where tenant_id = $1", tenancy.tenant.id)
    assert (row["outcome"], row["estimated"]) == ("caller_left", True)
    return int(row["output_tokens"])


@pytest.mark.promise("B7")
@pytest.mark.parametrize("path", CALLING)
async def test_a_call_of_a_tool_is_not_one_token_for_whoever_leaves_after_it(
    gateway: LiveGateway, stores: Stores, ollama: FakeOllama, path: str
) -> None:
    """Ollama sends a call of a tool as one record, however long: who asked for his essay as the argument of a tool,
    then left before the figures that follow, had all of it for the price of one token."""
    tenancy = await make_tenancy(gateway.services)
    calls = (ToolCall("write", {"text": ESSAY}),)
    records = {"/api/chat": 1, "/v1/chat/completions": 1}.get(path, 5)
    ollama.script = Script(tool_calls=calls, gate=asyncio.Event(), gate_after_records=records)
    words = await read_then_leave(gateway, tenancy.key, path, CALLING[path], lambda body: body.count(b"word ") >= WORDS)
    assert words >= WORDS
    assert WORDS <= await output_charged(stores, tenancy) <= 600


@pytest.mark.promise("B7")
@pytest.mark.parametrize("path", IN_ONE_PIECE)
async def test_an_answer_in_one_piece_is_not_free_for_whoever_leaves_before_its_end(
    gateway: LiveGateway, stores: Stores, ollama: FakeOllama, path: str
) -> None:
    """The figures stand at the end of a body: who read it slowly up to there, which he can afford behind the log
    probabilities of twenty megabytes, had the whole text without a token of output charged."""
    tenancy = await make_tenancy(gateway.services)
    ollama.script = Script(tokens=600, words=("word " * 6_000,))
    words = await read_then_leave(gateway, tenancy.key, path, IN_ONE_PIECE[path], lambda body: len(body) > 50_000)
    assert words > WORDS
    assert await output_charged(stores, tenancy) == 600
