"""Serves the app with uvicorn on a socket that is bound before anything else is started."""

import math
import os
import signal
import socket
from collections.abc import Callable
from ipaddress import ip_address
from multiprocessing import parent_process
from multiprocessing.process import BaseProcess
from threading import Thread
from types import FrameType

import uvicorn
from uvicorn.supervisors import Multiprocess

from neuronetz_gateway.cli import output
from neuronetz_gateway.errors import ConflictError, UnavailableError
from neuronetz_gateway.http.caller_connection import CallerConnection
from neuronetz_gateway.settings import Settings

APP = "neuronetz_gateway.asgi:create"  # by name: the floors keep cli from importing the app
_IDLE_SECONDS = 60  # DESIGN §7: how long a connection may stay idle between two requests
_READY_SECONDS = 30.0
_NOT_STARTED = "The gateway did not start; its log, above, says why."


def listen(host: str, port: int) -> socket.socket:
    """A bound socket, not yet listening; raises ConflictError where the address cannot be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConflictError(f"{host} is no address to listen on: {error.strerror}.") from None
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise ConflictError(
            f"{host}:{port} cannot be listened on: {error.strerror}. Give another port, for example --port {port + 1}."
        ) from None
    listener.set_inheritable(True)
    return listener


def base_url(host: str, listener: socket.socket) -> str:
    """The address under which this machine reaches the listener."""
    reachable = _reachable(host)
    port = address_of(host, listener)[1]
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def address_of(host: str, listener: socket.socket) -> tuple[str, int]:
    """The host with the port that the listener really has."""
    return host, int(listener.getsockname()[1])


def _reachable(host: str) -> str:
    """An address to connect to: where the host stands for every interface, the loopback one."""
    try:
        given = ip_address(host)
    except ValueError:  # a name
        return host or "127.0.0.1"
    if not given.is_unspecified:
        return host
    return "127.0.0.1" if given.version == 4 else "::1"  # noqa: PLR2004 - IPv4


def uvicorn_config(settings: Settings, *, workers: int = 1) -> uvicorn.Config:
    return ServingConfig(
        APP,
        factory=True,
        loop="uvloop",
        http=CallerConnection,
        ws="none",
        lifespan="on",
        workers=workers,
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,  # the gateway itself decides whose X-Forwarded-For is believed
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=math.ceil(settings.drain_timeout_s),
    )


def serve_alone(config: uvicorn.Config, listener: socket.socket, announce: Callable[[], None]) -> None:
    """Serve in this process until SIGINT or SIGTERM, drain, return; raises UnavailableError where it cannot start."""
    server = AnnouncingServer(config, announce)

    def stop(number: int, frame: FrameType | None) -> None:
        """Uvicorn takes the signals over, then raises them once more after the drain, when they end nothing here."""
        del number, frame
        server.should_exit = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    try:
        server.run(sockets=[listener])
    except SystemExit:  # uvicorn's way to say that the app's own start has failed
        raise UnavailableError(_NOT_STARTED) from None


def serve_with_workers(config: uvicorn.Config, listener: socket.socket, announce: Callable[[], None]) -> None:
    """Serve in several processes until SIGINT or SIGTERM, drain, return; raises UnavailableError as above."""
    workers = AnnouncingWorkers(config, [listener], announce)
    workers.run()
    if not workers.announced and not workers.told_to_stop:
        raise UnavailableError(_NOT_STARTED)


class ServingConfig(uvicorn.Config):
    """Sees to the end of a worker, which uvicorn makes itself.

    One whose parent was killed drains, then ends: nobody else would stop it, and it would keep the port.
    """

    def configure_logging(self) -> None:
        """The first that uvicorn asks of a worker, before it takes the signals over."""
        super().configure_logging()
        if (parent := parent_process()) is not None:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, self._signalled)
            Thread(target=_end_after, args=(parent,), name="parent-watch", daemon=True).start()

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        """Uvicorn raises once more what it took over; after a second Ctrl-C the settlements are not flushed by then."""
        del frame
        if not self.loaded:
            raise SystemExit(128 + number)


def _end_after(parent: BaseProcess) -> None:
    """Waits on a pipe that the parent alone holds: its SIGKILL is noticed too, on every system."""
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


class AnnouncingServer(uvicorn.Server):
    """Tells when connections are accepted, when it has to wait for its end."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started and not self.should_exit:
            self._announce()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if running := len(self.server_state.tasks):
            output.remark(
                f"Stopping: requests still running: {running}; they have {self.config.timeout_graceful_shutdown} s to "
                "end. Ctrl-C again cuts them off."
            )
        await super().shutdown(sockets=sockets)


class AnnouncingWorkers(Multiprocess):
    """Tells when every worker accepts connections."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket], announce: Callable[[], None]) -> None:
        super().__init__(config, sockets)
        self._announce = announce
        self.announced = False
        self.told_to_stop = False

    def init_processes(self) -> None:
        super().init_processes()
        if all(process.wait_until_ready(_READY_SECONDS, self.should_exit) for process in self.processes):
            self.announced = True
            self._announce()

    def handle_int(self) -> None:
        self.told_to_stop = True
        super().handle_int()

    def handle_term(self) -> None:
        self.told_to_stop = True
        super().handle_term()
