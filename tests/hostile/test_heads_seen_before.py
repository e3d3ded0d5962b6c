"""A head that was checked once is known again, nothing else is."""

from collections.abc import AsyncIterator

import pytest

from tests.gateway.test_caller_connections import connected, until_closed
from tests.hostile.raw_requests import get, head
from tests.support.fake_ollama import FakeOllama
from tests.support.gateways import LiveGateway, live_gateway
from tests.support.raw_exchange import answer
from tests.support.stores import Stores

CHECKED = get(target=b"/healthz")
UNCHECKED = get(b"Host: elsewhere", target=b"/healthz")  # refused for its second Host


@pytest.fixture
async def gateway(stores: Stores, ollama: FakeOllama) -> AsyncIterator[LiveGateway]:
    async with live_gateway(stores, ollama.base_url) as live:
        yield live


@pytest.mark.promise("N4")
async def test_a_head_within_a_body_is_none_that_was_checked(gateway: LiveGateway) -> None:
    """Of a head that came in one read with the end of a body, the bytes were looked for from the front, so that a copy
    of its request line in that body was taken for it. Nothing in that copy had been held against any rule, but it was
    remembered as checked: sent on its own, it was served with two `Host`, with a transfer coding that is none."""
    async with connected(gateway) as (reader, writer):
        writer.write(head(b"POST /api/chat HTTP/1.1", b"Content-Length: %d" % len(UNCHECKED), key=False))
        assert (await answer(reader)).status == 401  # before its body, so that the next head may come with that
        writer.write(UNCHECKED + CHECKED)
        assert (await answer(reader)).status == 200
        writer.write(UNCHECKED)
        assert (await until_closed(reader)).startswith(b"HTTP/1.1 400 ")


@pytest.mark.promise("N4")
async def test_a_copy_in_a_body_does_not_stand_in_for_a_request_line(gateway: LiveGateway) -> None:
    """Two spaces where there is one are refused, but behind a body with a well spelt copy of the line they were not."""
    line = b"GET /healthz HTTP/1.1\r\n"
    async with connected(gateway) as (reader, writer):
        writer.write(head(b"POST /api/chat HTTP/1.1", b"Content-Length: %d" % len(line), key=False))
        assert (await answer(reader)).status == 401
        writer.write(line + CHECKED.replace(b" /healthz", b"  /healthz"))
        assert (await until_closed(reader)).startswith(b"HTTP/1.1 400 ")
