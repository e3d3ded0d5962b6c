"""The server of one process, which ends without failing anybody."""

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

import uvicorn

from neuronetz_gateway.http.caller_connection import CallerConnection
from neuronetz_gateway.http.draining import Drainable, Gateway
from neuronetz_gateway.http.serving_state import ServingState

_LOOK_SECONDS = 0.05
_CUT_SECONDS = 2.0  # an error event is given 1 s to be taken (http/ending.py)
_CANCEL_SECONDS = 1.0
_TICKS_A_DATE = 20  # looks until the Date of answers is a second old


@dataclass(frozen=True, slots=True)
class DrainTimes:
    """From SIGTERM on, in seconds: how long new requests are still taken, how long any may run."""

    accept_seconds: float
    total_seconds: float


class ServingConfig(uvicorn.Config):
    """uvicorn's own, with what the end needs; handed to workers, so nothing that cannot be pickled."""

    drain: DrainTimes
    max_connections: int = ServingState.max_connections


def _nobody_asks() -> None:
    """Stands for an announcement where nobody waits for one."""


class DrainingServer(uvicorn.Server):
    """Ends in the steps of DESIGN §7; uvicorn closes its listener at once, then cancels what runs at its own time-out.

    1. /readyz says 503, answers that have not begun say `Connection: close`; new connections, new requests are served.
    2. After accept_seconds the listener closes, with every connection that waits for a request.
    3. What still runs after total_seconds is ended by the gateway, in the words of its surface.
    4. The application flushes.

    SIGINT is a person at a terminal: nobody has to be turned away, so it begins with step 2. A second signal, of either
    kind, goes on to step 3. The signals are handed over by whoever runs this (`handle_exit`).

    Of the sockets that it is given the first serves the gateway, the others the metrics alone (METRICS_PORT).
    """

    def __init__(
        self,
        config: ServingConfig,
        *,
        announce: Callable[[], None] = _nobody_asks,
        remark: Callable[[str], None] = lambda _text: None,
    ) -> None:
        super().__init__(config)
        self.server_state = self._state = ServingState()
        self._state.max_connections = config.max_connections
        self._times = config.drain
        self._announce, self._remark = announce, remark
        self._accepts = self._hastened = False
        self._ticks = 0

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal: the first one begins the end, another one hastens it."""
        del frame
        if self.should_exit:
            self._hastened = True
            return
        self._accepts = sig == signal.SIGTERM and self.started
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if isinstance(gateway := self.config.loaded_app, Gateway):
            self._state.count_refusal = gateway.count_refusal
        await super().startup(sockets=None if sockets is None else sockets[:1])
        for listener in (sockets or [])[1:]:
            self.servers.append(await self._metrics_server(listener))
        if self.started and not self.should_exit:
            self._announce()

    async def _metrics_server(self, listener: socket.socket) -> asyncio.Server:
        """Serves the metrics on a socket that is not the gateway's, within the same bounds on whoever connects."""
        gateway = self.config.loaded_app
        page = gateway.metrics_page if isinstance(gateway, Gateway) else None
        if page is None:
            raise ValueError("a listener for metrics needs a gateway that keeps them off its own")

        def connection() -> CallerConnection:
            made = CallerConnection(self.config, self._state, self.lifespan.state)
            made.app = page
            return made

        return await asyncio.get_running_loop().create_server(connection, sock=listener)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        begun = asyncio.get_running_loop().time()
        gateway = self.config.loaded_app
        if isinstance(gateway, Drainable):
            gateway.stop()
        if self._accepts:
            await self._go_on_accepting(begun)
        self._stop_accepting(sockets or [])
        if running := len(self._state.tasks):
            rest = max(0.0, begun + self._times.total_seconds - asyncio.get_running_loop().time())
            self._remark(
                f"Stopping: requests still running: {running}; they have {rest:.0f} s to end. Ctrl-C again cuts them "
                "off."
            )
        await self._until(self._nothing_runs, begun + self._times.total_seconds)
        await self._cut(gateway)
        await self.lifespan.shutdown()

    async def _go_on_accepting(self, begun: float) -> None:
        seconds = min(self._times.accept_seconds, self._times.total_seconds)
        self._state.draining = True
        for connection in self._connections():
            connection.turn_away()
        self._remark(f"Stopping: /readyz says so, requests are taken for {seconds:g} s more. Ctrl-C ends them now.")
        await self._until(lambda: False, begun + seconds)

    def _stop_accepting(self, sockets: list[socket.socket]) -> None:
        for server in self.servers:
            server.close()
        for listener in sockets:
            listener.close()
        for connection in self._connections():
            connection.shutdown()

    async def _cut(self, gateway: object) -> None:
        """End what runs: the gateway says why; whoever it does not reach, having no place yet, is cancelled."""
        loop = asyncio.get_running_loop()
        end = loop.time() + _CUT_SECONDS
        while self._state.tasks and isinstance(gateway, Drainable) and loop.time() < end:
            gateway.cut()  # again and again, since meanwhile others come to their place
            await asyncio.sleep(_LOOK_SECONDS)
        for task in tuple(self._state.tasks):
            task.cancel()
        if self._state.tasks:
            await asyncio.wait(tuple(self._state.tasks), timeout=_CANCEL_SECONDS)
        for connection in self._connections():
            connection.transport.abort()

    def _nothing_runs(self) -> bool:
        return not self._state.connections and not self._state.tasks

    def _connections(self) -> list[CallerConnection]:
        return [each for each in self._state.connections if isinstance(each, CallerConnection)]

    async def _until(self, done: Callable[[], bool], end: float) -> None:
        """Wait for it, or for the end of its time, or for a second signal."""
        loop = asyncio.get_running_loop()
        while not done() and not self._hastened and loop.time() < end:
            await asyncio.sleep(min(_LOOK_SECONDS, max(0.0, end - loop.time())))
            self._ticks += 1
            if self._ticks % _TICKS_A_DATE == 0:
                await self.on_tick(0)
