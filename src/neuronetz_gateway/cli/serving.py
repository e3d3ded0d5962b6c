"""Serves the app with uvicorn on a socket that is bound before anything else is started."""

import resource
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from ipaddress import ip_address

from neuronetz_gateway.cli import output
from neuronetz_gateway.cli.draining import DrainingServer, DrainTimes, ServingConfig
from neuronetz_gateway.cli.workers import Workers
from neuronetz_gateway.errors import ConflictError, UnavailableError
from neuronetz_gateway.http.caller_connection import CallerConnection
from neuronetz_gateway.settings import Settings

APP = "neuronetz_gateway.asgi:create"  # by name: the floors keep cli from importing the app
_IDLE_SECONDS = 60  # DESIGN §7: how long a connection may stay idle between two requests
_NOT_STARTED = "The gateway did not start; its log, above, says why."


def listen(host: str, port: int, *, setting: str = "--port ") -> socket.socket:
    """A bound socket, not yet listening; raises ConflictError where the address cannot be had.

    `setting` is how the mend of that is written, up to the number.
    """
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
            f"{host}:{port} cannot be listened on: {error.strerror}. "
            f"Give another port, for example {setting}{port + 1}."
        ) from None
    listener.set_inheritable(True)
    return listener


def listen_for_metrics(settings: Settings) -> socket.socket | None:
    """The socket of METRICS_PORT, None where the metrics have none of their own; raises ConflictError as above."""
    if not settings.metrics_enabled or not settings.metrics_port:
        return None
    return listen(settings.metrics_host, settings.metrics_port, setting="METRICS_PORT=")


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


def serving_config(settings: Settings, *, workers: int = 1, accept_seconds: float | None = None) -> ServingConfig:
    """How the app is served; accept_seconds stands in for DRAIN_ACCEPT_S."""
    config = ServingConfig(
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
    )
    config.drain = DrainTimes(
        settings.drain_accept_s if accept_seconds is None else accept_seconds, settings.drain_timeout_s
    )
    config.max_connections = settings.max_connections
    return config


def _allow_open_files() -> None:
    """As many as this process may have: a shell's 1,024 would end long before MAX_CONNECTIONS does."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS says that there is no limit, then knows one
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def serve_alone(config: ServingConfig, listeners: Sequence[socket.socket], announce: Callable[[], None]) -> None:
    """Serve in this process until SIGINT or SIGTERM, drain, return; raises UnavailableError where it cannot start.

    The first listener is that of the gateway, a second one that of the metrics.
    """
    _allow_open_files()
    server = DrainingServer(config, announce=announce, remark=output.remark)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, server.handle_exit)  # to the end: what comes after the drain ends nothing here
    try:
        server.run(sockets=list(listeners))
    except SystemExit:  # uvicorn's way to say that the app's own start has failed
        raise UnavailableError(_NOT_STARTED) from None


def serve_with_workers(config: ServingConfig, listeners: Sequence[socket.socket], announce: Callable[[], None]) -> None:
    """Serve in several processes until SIGINT or SIGTERM, drain, return; raises UnavailableError as above."""
    _allow_open_files()
    if not Workers(config, listeners, announce).run():
        raise UnavailableError(_NOT_STARTED)
