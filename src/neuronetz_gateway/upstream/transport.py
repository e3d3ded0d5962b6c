"""An httpx transport of our own, because the stock one loses its pool when callers leave (SPEED.md)."""

import asyncio
import ssl
import time
from collections.abc import Callable

import httpx

from neuronetz_gateway.upstream.connection import Connection, ConnectionLimits
from neuronetz_gateway.upstream.pool import Pool
from neuronetz_gateway.upstream.received import ReceivedResponse
from neuronetz_gateway.upstream.request import Origin, PreparedRequest, written
from neuronetz_gateway.upstream.timing import Timeouts

_EXTENSIONS = {"http_version": b"HTTP/1.1"}


class OllamaTransport(httpx.AsyncBaseTransport):
    """HTTP/1.1 over pooled connections: no redirects, no proxies, no retries, no response bytes held back.

    The one exception to "no retries": a pooled connection found closed before anything was written to it is replaced.
    Once a request has been written its failure is the caller's to know, since the upstream may have acted on it.

    Ollama sets no idle time-out of its own, so the short idle expiry is for what may stand between (OLLAMA §5.3).
    clock gives seconds that never go back.
    """

    def __init__(
        self,
        *,
        connect_timeout_seconds: float | None = 5.0,
        first_byte_timeout_seconds: float | None = None,
        between_records_timeout_seconds: float | None = 60.0,
        idle_expiry_seconds: float = 30.0,
        max_idle_connections: int = 256,
        max_head_bytes: int = 64 * 1024,
        max_buffered_bytes: int = 24 * 1024,
        ssl_context: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._timeouts = Timeouts(
            connect_seconds=connect_timeout_seconds,
            first_byte_seconds=first_byte_timeout_seconds,
            progress_seconds=between_records_timeout_seconds,
            upload_stall_seconds=between_records_timeout_seconds,
        )
        self._limits = ConnectionLimits(max_head_bytes, max_buffered_bytes, idle_expiry_seconds)
        # One buffer serves all connections: the loop fills it, then has it parsed, without a turn between. What it
        # takes at once comes on top of the third at which a connection stops reading (ConnectionLimits).
        self._read_buffer = memoryview(bytearray(max_buffered_bytes * 2 // 3))
        self._pool = Pool(max_idle_connections)
        self._ssl_context = ssl_context
        self._clock = clock

    @property
    def open_connections(self) -> int:
        """Connections whose socket is open: idle, in use, or about to be closed within this turn of the loop."""
        return self._pool.open_connections

    @property
    def idle_connections(self) -> int:
        return self._pool.idle_connections

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request; the response comes with its head, its body still to be iterated.

        The stream of the response is a Reply: iterate it to its end, or abort it.

        Raises httpx.ConnectTimeout, ConnectError, WriteTimeout, ReadTimeout, ReadError, RemoteProtocolError; and
        httpx.LocalProtocolError or UnsupportedProtocol for a request that cannot be written.
        """
        timeouts = self._timeouts
        if "timeout" in request.extensions:
            timeouts = timeouts.overridden(request.extensions["timeout"])
        head, body = await written(request)
        connection = self._pool.take(head.origin) or await self._connect(head.origin, timeouts.connect_seconds)
        if isinstance(request, PreparedRequest):
            request.going_up()
            return ReceivedResponse(await connection.exchange(head, body, timeouts))
        reply = await connection.exchange(head, body, timeouts)
        return httpx.Response(reply.status, headers=reply.headers, stream=reply, extensions=_EXTENSIONS)

    async def aclose(self) -> None:
        self._pool.close()
        await asyncio.sleep(0)  # the sockets are closed within the next turn of the loop

    async def _connect(self, origin: Origin, timeout_seconds: float | None) -> Connection:
        scheme, host, port = origin
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout_seconds):
                _, connection = await loop.create_connection(
                    lambda: Connection(origin, self._pool, self._limits, self._read_buffer, self._clock),
                    host,
                    port,
                    ssl=self._tls() if scheme == "https" else None,
                )
        except TimeoutError as error:
            raise httpx.ConnectTimeout("the upstream did not accept a connection in time") from error
        except OSError as error:
            raise httpx.ConnectError(f"the upstream cannot be reached: {error}") from error
        if self._pool.closed:
            connection.abort()
        if not connection.usable:
            raise httpx.ConnectError("the connection to the upstream was closed at once")
        # Only now: after a cancel that comes between connection_made and here uvloop closes the socket without ever
        # calling connection_lost, so that what connection_made had counted would be counted for ever.
        self._pool.opened(connection)
        return connection

    def _tls(self) -> ssl.SSLContext:
        if self._ssl_context is None:
            self._ssl_context = ssl.create_default_context()
        return self._ssl_context
