"""A load balancer as simple as they come: it believes /readyz, sends each request once."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx

from neuronetz_gateway.upstream.transport import OllamaTransport
from tests.support.load import Gateway

_PROBE_TIMEOUT_SECONDS = 2.0


class Backend:
    """One gateway with the connections to it that are kept."""

    def __init__(self, probing: httpx.AsyncClient, http: httpx.AsyncClient) -> None:
        self.http, self._probing = http, probing
        self.ready = False
        self.sent = 0

    async def probe(self) -> None:
        try:
            self.ready = (await self._probing.get("/readyz")).status_code == httpx.codes.OK
        except httpx.TransportError:
            self.ready = False


class Balancer:
    """New requests go to the ready backends in turn; nothing is repeated, whatever becomes of it."""

    def __init__(self, backends: Sequence[Backend]) -> None:
        self.backends = backends
        self._turn = 0

    async def watch(self, every_seconds: float) -> None:
        """Ask all of them that often, for ever."""
        while True:
            await asyncio.gather(*(backend.probe() for backend in self.backends))
            await asyncio.sleep(every_seconds)

    def choose(self) -> Backend:
        """Raises LookupError where none is ready."""
        ready = [backend for backend in self.backends if backend.ready]
        if not ready:
            raise LookupError("no gateway is ready")
        self._turn += 1
        chosen = ready[self._turn % len(ready)]
        chosen.sent += 1
        return chosen

    async def until(self, number: int, *, ready: bool, seconds: float = 30) -> None:
        """Return once it takes this backend for ready, or not."""
        async with asyncio.timeout(seconds):
            while self.backends[number].ready is not ready:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def balancer(gateways: Sequence[Gateway], key: str, *, probe_seconds: float) -> AsyncIterator[Balancer]:
    """One before these gateways, with this key for whatever goes through it."""
    async with AsyncExitStack() as closing:
        made = Balancer(
            [
                Backend(
                    await closing.enter_async_context(gateway.http(timeout=_PROBE_TIMEOUT_SECONDS)),
                    await closing.enter_async_context(gateway.http(key, transport=OllamaTransport())),
                )
                for gateway in gateways
            ]
        )
        watching = asyncio.create_task(made.watch(probe_seconds))
        try:
            for number in range(len(gateways)):
                await made.until(number, ready=True)
            yield made
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching


class BalancedLoad:
    """So many requests a second, whatever the answers take, beside so many streams at any time."""

    def __init__(self, through: Balancer, *, per_second: float, streams: int, plain: Any, streamed: Any) -> None:
        self._through = through
        self._per_second, self._streams = per_second, streams
        self._plain, self._streamed = plain, streamed
        self._stopped = asyncio.Event()
        self.ends: Counter[str] = Counter()  # what became of the requests
        self.stream_ends: Counter[str] = Counter()

    def stop(self) -> None:
        """Begin nothing more; `run` returns once all have ended."""
        self._stopped.set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(self._streams):
                group.create_task(self._stream_after_stream())
            group.create_task(self._requests(group))

    async def _requests(self, group: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while not self._stopped.is_set():
            group.create_task(self._send(self._plain, self.ends))
            due += 1 / self._per_second
            await asyncio.sleep(max(0.0, due - loop.time()))

    async def _stream_after_stream(self) -> None:
        while not self._stopped.is_set():
            await self._send(self._streamed, self.stream_ends)

    async def _send(self, body: Any, ends: Counter[str]) -> None:
        """Counts as whole what ended as HTTP wants it with its last record; else what went wrong."""
        last = b""
        try:
            async with self._through.choose().http.stream("POST", "/api/chat", json=body) as answer:
                async for chunk in answer.aiter_raw():
                    last = (last + chunk)[-1000:]
            whole = answer.status_code == httpx.codes.OK and b'"done":true' in last
            ends["whole" if whole else f"{answer.status_code} {last[-200:]!r}"] += 1
        except (httpx.TransportError, LookupError) as error:
            ends[f"{type(error).__name__}: {error}"] += 1
