"""A load balancer as simple as they come: it believes /readyz, sends each request once."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import orjson

from neuronetz_gateway.http.passage import raw_stream
from neuronetz_gateway.upstream.transport import OllamaTransport
from tests.support.load import Gateway

_PROBE_TIMEOUT_SECONDS = 2.0


class Backend:
    """One gateway with the connections to it that are kept.

    The transport is used without a client around it, which alone would take more CPU than the gateway.
    """

    def __init__(self, probing: httpx.AsyncClient, transport: OllamaTransport, base_url: str, key: str) -> None:
        self._probing, self._transport = probing, transport
        self._url, self._headers = f"{base_url}/api/chat", {"authorization": f"Bearer {key}"}
        self.ready = False
        self.sent = 0

    async def ask(self, body: bytes) -> tuple[int, bytes]:
        """Status and the end of the answer; raises httpx.TransportError where it breaks off."""
        request = httpx.Request("POST", self._url, headers=self._headers, content=body)
        answer = await self._transport.handle_async_request(request)
        last = b""
        async for chunk in raw_stream(answer):
            last = (last + chunk)[-1000:]
        return answer.status_code, last

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
                    await closing.enter_async_context(OllamaTransport()),
                    gateway.base_url,
                    key,
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
        self._plain, self._streamed = orjson.dumps(plain), orjson.dumps(streamed)
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

    async def _send(self, body: bytes, ends: Counter[str]) -> None:
        """Counts as whole what ended as HTTP wants it with its last record; else what went wrong."""
        try:
            status, last = await self._through.choose().ask(body)
            whole = status == httpx.codes.OK and b'"done":true' in last
            ends["whole" if whole else f"{status} {last[-200:]!r}"] += 1
        except (httpx.TransportError, LookupError) as error:
            ends[f"{type(error).__name__}: {error}"] += 1
