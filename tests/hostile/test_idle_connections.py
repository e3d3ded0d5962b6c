"""Thousands who are connected and say nothing cost little, for a short time."""

import asyncio
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from neuronetz_gateway.wiring import Services
from tests.support.factories import make_tenancy
from tests.support.fake_ollama import FakeOllama
from tests.support.forks import Zygote
from tests.support.gateways import GatewayProcess, gateway_fork, make_settings, write_env_file
from tests.support.load import statuses_of
from tests.support.process_figures import forget_the_peak, peak_bytes
from tests.support.stores import Stores

MIB = 1024 * 1024
MOST_BYTES = 512 * MIB
FLAT_BYTES = 8 * MIB
SERVED = b"GET /healthz HTTP/1.1\r\nHost: gateway\r\n\r\n"


class _Idle(asyncio.Protocol):
    """Asks once where it has something to ask, then nothing."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport, self.open = transport, True
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if not self.answered.done():
            assert data.startswith(b"HTTP/1.1 200 ")
            self.answered.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.open = False


@asynccontextmanager
async def idle(gateway: GatewayProcess, count: int) -> AsyncIterator[list[_Idle]]:
    """So many who were served once and stay."""
    port, loop = urlsplit(gateway.base_url).port, asyncio.get_running_loop()
    assert port is not None
    protocols: list[_Idle] = []
    try:
        for start in range(0, count, 100):
            batch = (
                loop.create_connection(lambda: _Idle(SERVED), "127.0.0.1", port) for _ in range(min(100, count - start))
            )
            protocols += [protocol for _, protocol in await asyncio.gather(*batch)]
        await asyncio.gather(*(protocol.answered for protocol in protocols))
        yield protocols
    finally:
        for protocol in protocols:
            protocol.transport.abort()


async def _rounds(
    zygote: Zygote,
    services: Services,
    stores: Stores,
    ollama: FakeOllama,
    env_path: Path,
    *,
    connections: int,
    requests: int,
) -> None:
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 2 * connections + 500, "too few files may be open"
    tenancy = await make_tenancy(services)
    env_file = write_env_file(env_path, make_settings(stores, ollama.base_url))
    async with gateway_fork(zygote, env_file) as gateway:
        pid = gateway.process.pid
        await statuses_of([gateway], tenancy.key, 200, at_once=100)
        alone = forget_the_peak(pid)
        async with idle(gateway, connections) as others:
            connected = forget_the_peak(pid)
            peaks = []
            for _ in range(5):
                assert await statuses_of([gateway], tenancy.key, requests, at_once=400) == {200: requests}
                peaks.append(peak_bytes(pid))
            assert sum(each.open for each in others) == connections
    print(
        f"O2: {connections} idle connections take {(connected - alone) / MIB:.0f} MiB; with {requests} requests "
        f"beside them the gateway has {', '.join(f'{peak / MIB:.0f}' for peak in peaks)} MiB, {alone / MIB:.0f} without"
    )
    assert max(peaks) <= MOST_BYTES
    assert peaks[-1] - peaks[-3] <= FLAT_BYTES  # the first rounds make the heap what it has to be


@pytest.mark.promise("O2")
async def test_idle_connections_cost_little_beside_requests(
    zygote: Zygote, management: Services, stores: Stores, ollama: FakeOllama, env_path: Path
) -> None:
    await _rounds(zygote, management, stores, ollama, env_path, connections=500, requests=200)


@pytest.mark.full
@pytest.mark.alone
@pytest.mark.promise("O2")
@pytest.mark.timeout(300)
async def test_five_thousand_idle_connections_cost_little_beside_a_thousand_requests(
    zygote: Zygote, management: Services, stores: Stores, ollama: FakeOllama, env_path: Path
) -> None:
    await _rounds(zygote, management, stores, ollama, env_path, connections=5_000, requests=1_000)
