"""A server that says exactly the bytes it is told to say."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from types import TracebackType

import httpx

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"

type Script = Callable[["Peer"], Awaitable[None]]


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Peer:
    """One accepted connection, as the upstream sees it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.requests: list[tuple[bytes, bytes]] = []
        self.gone = asyncio.Event()

    async def request(self) -> tuple[bytes, bytes]:
        """The next head and body; raises IncompleteReadError when the gateway has closed."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = next(
            (int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")), 0
        )
        body = await self.reader.readexactly(length)
        self.requests.append((head, body))
        return head, body

    def say(self, data: bytes) -> None:
        if self.writer.is_closing():  # uvloop raises RuntimeError on a closed handle
            raise ConnectionResetError
        self.writer.write(data)

    async def hears_the_end(self) -> None:
        """Wait for the gateway to close or reset."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(65536):
                pass
        self.gone.set()

    def reset(self) -> None:
        self.writer.transport.abort()


async def answer_ok(peer: Peer) -> None:
    while True:
        await peer.request()
        peer.say(OK)


class RawUpstream:
    """Runs the script once a connection; `peers` are the connections in order of arrival."""

    def __init__(self) -> None:
        self.script: Script = answer_ok
        self.peers: list[Peer] = []
        self.arrived = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def request_count(self) -> int:
        return sum(len(peer.requests) for peer in self.peers)

    async def says(self, *answers: bytes, then_close: bool = False) -> None:
        """Each request is answered by the next of these on its connection; then silence, or the end."""

        async def script(peer: Peer) -> None:
            for answer in answers:
                await peer.request()
                peer.say(answer)
            if not then_close:
                await peer.hears_the_end()

        self.script = script

    async def __aenter__(self) -> "RawUpstream":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=512)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        peer = Peer(reader, writer)
        self.peers.append(peer)
        self.arrived.set()
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
                await self.script(peer)
        finally:
            peer.gone.set()
            writer.close()
            self._tasks.discard(task)


def get(upstream: RawUpstream, path: str = "/api/tags") -> httpx.Request:
    return httpx.Request("GET", upstream.url + path)


def post(upstream: RawUpstream, body: bytes = b"{}", path: str = "/api/chat") -> httpx.Request:
    return httpx.Request("POST", upstream.url + path, content=body)


async def exchange(transport: httpx.AsyncBaseTransport, request: httpx.Request) -> tuple[int, bytes]:
    response = await transport.handle_async_request(request)
    return response.status_code, await response.aread()


async def settled(figure: Callable[[], int], expected: int) -> None:
    """Wait until a figure is what it should be, which takes sockets a turn or two of the loop; at most 3 s."""
    async with asyncio.timeout(3):
        while figure() != expected:
            await asyncio.sleep(0)
