"""Mutants of the hostile requests crash nothing, hang nowhere, get nothing past the strict reading of them."""

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest

from neuronetz_gateway.http.caller_connection import CallerConnection
from tests.hostile.raw_requests import BODY, get, sized
from tests.support.factories import make_tenancy
from tests.support.fake_ollama import FakeOllama
from tests.support.gateways import LiveGateway, live_gateway
from tests.support.raw_mutations import mutations
from tests.support.raw_requests_page import SECTIONS
from tests.support.stores import Stores
from tests.support.strict_http import requests_in

AT_ONCE = 200
LONG_BYTES = 2_000
HANG_SECONDS = 5  # every deadline of this gateway is 0.3 s
MAPPED = {0, 200, 400, 401, 403, 404, 408, 413, 415, 417, 431, 501, 505}
GOOD = (
    get(), sized(), get(target=b"/v1/models"), get(target=b"/api/version"),
    sized(target=b"/v1/chat/completions"), sized(target=b"/v1/messages", body=BODY[:-1] + b', "max_tokens": 5}'),
)  # fmt: skip


class SoonDone(CallerConnection):
    """The bounds of production, a hundred times sooner."""

    head_seconds = unread_seconds = stall_seconds = 0.3


@dataclass(slots=True)
class Run:
    gateway: LiveGateway
    ollama: FakeOllama
    hang_seconds: float = HANG_SECONDS
    statuses: Counter[int] = field(default_factory=Counter)
    slowest_seconds: float = 0.0
    hits: int = 0

    async def send(self, mutant: bytes) -> None:
        begun = asyncio.get_running_loop().time()
        self.statuses[await self._status(mutant)] += 1
        self.slowest_seconds = max(self.slowest_seconds, asyncio.get_running_loop().time() - begun)

    async def _status(self, mutant: bytes) -> int:
        parts = urlsplit(self.gateway.base_url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        try:
            async with asyncio.timeout(self.hang_seconds):
                writer.write(mutant)
                answer = await reader.readuntil(b"\r\n\r\n")
                if answer.startswith(b"HTTP/1.1 100 "):
                    answer = await reader.readuntil(b"\r\n\r\n")
                return int(answer.split(b" ", 2)[1])
        except (asyncio.IncompleteReadError, ConnectionError):
            return 0
        finally:
            writer.close()

    async def batch(self, mutants: tuple[bytes, ...]) -> None:
        """All at once; then the model server must not have seen more than a strict reader finds in them."""
        before = len(self.ollama.requests)
        await asyncio.gather(*(self.send(mutant) for mutant in mutants))
        await self.ollama.wait_idle()
        seen = Counter(each.target for each in self.ollama.requests[before:])
        allowed = Counter(path for mutant in mutants for path in upstream_paths(mutant))
        self.hits += seen.total()
        assert seen <= allowed, (seen - allowed, [mutant for mutant in mutants if not upstream_paths(mutant)])


def upstream_paths(mutant: bytes) -> list[str]:
    """Where a strict reader would be led by it, with a body that is JSON or with none."""
    return [request.path for request in requests_in(mutant) if not request.body or is_json(request.body)]


def is_json(body: bytes) -> bool:
    try:
        json.loads(body)
    except ValueError:
        return False
    return True


def bases_with(key: str) -> list[bytes]:
    """What is changed: the table, with good requests among it, of which some stay good."""
    table = [hostile.with_key(key) for section in SECTIONS.values() for hostile in section]
    good = [sent.replace(b"@KEY@", key.encode()) for sent in GOOD]
    return [sent for sent in table if len(sent) < LONG_BYTES] + good * 30


@pytest.fixture
async def run(stores: Stores, ollama: FakeOllama) -> AsyncIterator[Run]:
    changes: dict[str, Any] = {"auth_failures_per_minute": 10**6, "body_timeout_s": 0.3}
    async with live_gateway(stores, ollama.base_url, protocol=SoonDone, **changes) as gateway:
        yield Run(gateway, ollama)


@pytest.mark.promise("N1")
@pytest.mark.parametrize("count", [2_000, pytest.param(100_000, marks=[pytest.mark.full, pytest.mark.timeout(1_800)])])
async def test_no_mutant_crashes_hangs_or_reaches_the_model_server(run: Run, count: int) -> None:
    bases = bases_with((await make_tenancy(run.gateway.services)).key)
    crashes: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: crashes.append(context))
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for mutants in itertools.batched(mutations(bases, count, seed=9112), AT_ONCE):
        await run.batch(mutants)
    print(
        f"N1: {count} mutants in {loop.time() - begun:.0f} s, slowest {run.slowest_seconds:.2f} s, "
        f"{run.hits} to the model server, all valid; statuses {dict(sorted(run.statuses.items()))}"
    )
    assert run.statuses.keys() <= MAPPED
    assert not crashes
    assert not run.ollama.witness.malformed
    assert run.hits > count / 100  # many are still good requests, else this would show nothing
    assert run.gateway.services.limiter.open_admissions == 0


@pytest.mark.full
@pytest.mark.promise("N1")
async def test_no_mutant_hangs_at_the_deadlines_of_production(stores: Stores, ollama: FakeOllama) -> None:
    changes: dict[str, Any] = {"auth_failures_per_minute": 10**6}
    async with live_gateway(stores, ollama.base_url, **changes) as gateway:
        run = Run(gateway, ollama, hang_seconds=35)
        bases = bases_with((await make_tenancy(gateway.services)).key)
        await run.batch(tuple(mutations(bases, 1_000, seed=35)))
    print(f"N1: 1000 mutants at once, deadlines of production: slowest {run.slowest_seconds:.1f} s")
    assert run.statuses.keys() <= MAPPED
