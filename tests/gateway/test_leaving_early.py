"""A caller who leaves before a byte of his request went up has cost nobody anything, and is written down so."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress

import httpx
import pytest

from neuronetz_gateway.domain.limit import Limits
from neuronetz_gateway.settings import Settings
from neuronetz_gateway.upstream.client import Upstream
from neuronetz_gateway.wiring import Services, build_services
from tests.gateway.test_budgeting import settled
from tests.support.factories import make_tenancy
from tests.support.fake_ollama import FakeOllama
from tests.support.gateways import live_gateway
from tests.support.load import CHAT
from tests.support.stores import Stores


class Unreached(Upstream):
    """A model server to which the connection is never made."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(httpx.AsyncHTTPTransport(), settings.ollama_base_url)
        self.asked = asyncio.Event()

    async def open(
        self,
        method: str,
        path: str,
        body: bytes,
        going_up: Callable[[], None] = lambda: None,
        trace_fields: Sequence[tuple[bytes, bytes]] = (),
    ) -> httpx.Response:
        del method, path, body, going_up, trace_fields
        self.asked.set()
        await asyncio.Event().wait()
        raise AssertionError


@pytest.fixture
async def left(stores: Stores, ollama: FakeOllama) -> AsyncIterator[Services]:
    """The services of a gateway that a caller has left while it connected to its upstream."""
    upstreams: list[Unreached] = []

    def build(settings: Settings) -> Services:
        upstreams.append(Unreached(settings))
        return dataclasses.replace(build_services(settings), upstream=upstreams[0])

    async with live_gateway(stores, ollama.base_url, build=build, model_facts_refresh_s=0) as live:
        tenancy = await make_tenancy(live.services, key_limits=Limits(rpm=1))
        async with live.http(tenancy.key) as http:
            for _ in range(2):  # the second is let in only if the first consumed nothing
                upstreams[0].asked.clear()
                leaving = asyncio.create_task(http.post("/api/chat", json=CHAT))
                async with asyncio.timeout(5):
                    await upstreams[0].asked.wait()
                leaving.cancel()
                with suppress(asyncio.CancelledError):
                    await leaving
                async with asyncio.timeout(5):
                    while live.services.limiter.open_admissions:
                        await asyncio.sleep(0.02)
            assert await settled(stores, tenancy) == 0
        yield live.services


@pytest.mark.promise("D1", "L2", "S1")
@pytest.mark.usefixtures("left")
async def test_a_caller_who_left_before_anything_went_up_is_not_forwarded(stores: Stores, ollama: FakeOllama) -> None:
    """Of 20,000 mixed requests some whose callers left while the gateway connected were written down as `caller_left`.

    That says to whoever reads the audit log, or holds it against the model server's, that the model server was asked;
    their place in the minute was used up as well. Without a byte sent the outcome is `not_forwarded` (D1).
    """
    rows = await stores.fetch("select outcome, charged_tokens from audit_log")
    assert [(row["outcome"], row["charged_tokens"]) for row in rows] == [("not_forwarded", 0)] * 2
    assert not ollama.requests
