"""A real little HTTP server that behaves, or misbehaves, as Ollama does."""

import argparse
import asyncio
import contextlib
import json
import signal
import socket
import weakref
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from tests.support.fake_ollama_connection import Connection
from tests.support.fake_ollama_paths import Kind
from tests.support.fake_ollama_script import DEFAULT_MODELS, Behaviour, Fault, Script
from tests.support.fake_ollama_witness import Ended, Log, Seen, Witness

__all__ = ["Ended", "FakeOllama", "Fault", "Kind", "Script", "Seen"]


class FakeOllama:
    """The server, its script, what it saw. With port 0 it takes a free one, which it keeps over `stop` and `start`.

    In a test's own loop:

        async with FakeOllama() as ollama:
            ollama.script = Script(tokens=20, gap_seconds=0.01)
            ollama.next(Script(status=503))
            ...
            await ollama.wait_idle()
            assert ollama.hits[0].ended is Ended.COMPLETED

    As a process: `python -m tests.support.fake_ollama --port N [--log FILE] [--script JSON]`.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        models: tuple[str, ...] = DEFAULT_MODELS,
        log: Log | None = None,
        send_buffer_bytes: int = 0,
    ) -> None:
        """send_buffer_bytes bounds what the kernel takes for each connection, where that is not to be its megabytes."""
        self.host, self.port = host, port
        self._send_buffer_bytes = send_buffer_bytes
        self.witness = Witness(log)
        self._behaviour = Behaviour(models=models)
        self._server: asyncio.Server | None = None
        self._connections: weakref.WeakSet[Connection] = weakref.WeakSet()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen; raises OSError where the port is taken."""
        server = await asyncio.get_running_loop().create_server(self._connection, self.host, self.port, backlog=4096)
        if self._send_buffer_bytes:
            server.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._send_buffer_bytes)
        self._server = server
        self.port = server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse new connections, reset the open ones. The witness stays."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for connection in tuple(self._connections):
            connection.stop()
        await server.wait_closed()

    def _connection(self) -> Connection:
        connection = Connection(self.witness, self._behaviour)
        self._connections.add(connection)
        return connection

    @property
    def base_url(self) -> str:
        return f"http://{self.host}:{self.port}"

    # --- behaviour

    @property
    def script(self) -> Script:
        """What holds for every inference request without a script of its own."""
        return self._behaviour.script

    @script.setter
    def script(self, script: Script) -> None:
        self._behaviour.script = script

    @property
    def metadata_script(self) -> Script:
        """What holds for everything else, such as /api/tags; healthy until told otherwise."""
        return self._behaviour.metadata_script

    @metadata_script.setter
    def metadata_script(self, script: Script) -> None:
        self._behaviour.metadata_script = script

    @property
    def models(self) -> tuple[str, ...]:
        """The installed names, with their tags."""
        return self._behaviour.models

    @models.setter
    def models(self, models: tuple[str, ...]) -> None:
        self._behaviour.models = models

    def shows(self, model: str, **fields: Any) -> None:
        """Fields of /api/show for one model, by the name in which it is listed; its digest changes with them."""
        self._behaviour.shown[model] = fields

    def next(self, *scripts: Script) -> None:
        """One script each for the next inference requests, in the order of their arrival."""
        self._behaviour.upcoming.extend(scripts)

    def for_model(self, model: str, script: Script) -> None:
        """The script of one model, by the name in which it is sent."""
        self._behaviour.by_model[model] = script

    # --- what was seen

    @property
    def requests(self) -> list[Seen]:
        return self.witness.requests

    @property
    def hits(self) -> list[Seen]:
        """The inference requests."""
        return [seen for seen in self.requests if seen.kind is Kind.INFERENCE]

    @property
    def dangerous_hits(self) -> list[Seen]:
        """Mutations, administration, egress: no gateway may ever cause one."""
        return [seen for seen in self.requests if seen.kind is Kind.DANGEROUS]

    @property
    def malformed(self) -> list[bytes]:
        return self.witness.malformed

    @property
    def connections_open(self) -> int:
        return self.witness.connections_open

    @property
    def connections_accepted(self) -> int:
        return self.witness.connections_accepted

    @property
    def bytes_received(self) -> int:
        return self.witness.bytes_received

    @property
    def in_flight(self) -> int:
        """Inference requests whose head has arrived, whose end has not."""
        return self.witness.in_flight

    @property
    def max_in_flight(self) -> int:
        return self.witness.max_in_flight

    async def wait_for(self, predicate: Callable[[], bool], timeout_seconds: float = 5.0) -> None:
        """Return as soon as the predicate holds; TimeoutError says what was seen instead."""
        await self.witness.wait_for(predicate, timeout_seconds)

    async def wait_idle(self, timeout_seconds: float = 5.0) -> None:
        """Return once no request of any kind is unfinished."""
        await self.wait_for(lambda: self.witness.unfinished == 0, timeout_seconds)


def read_script(text: str) -> Script:
    """A script from JSON, such as `{"tokens": 20, "fault": "reset", "fault_after_records": 5}`."""
    values: dict[str, Any] = json.loads(text)
    if "fault" in values:
        values["fault"] = Fault(values["fault"])
    return Script(**values)


def _open_log(name: str) -> TextIO:
    return Path(name).open("a", buffering=1, encoding="utf-8")


def _log_to(file: TextIO) -> Log:
    return lambda line: print(json.dumps(line), file=file)


async def _serve(arguments: argparse.Namespace) -> None:
    with contextlib.ExitStack() as stack:
        log = None if arguments.log is None else _log_to(stack.enter_context(_open_log(arguments.log)))
        stopped = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        async with FakeOllama(host=arguments.host, port=arguments.port, log=log) as ollama:
            ollama.script = read_script(arguments.script)
            print(json.dumps({"base_url": ollama.base_url}), flush=True)
            await stopped.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", help="a file for one JSON line at each arrival and each end of a request")
    parser.add_argument("--script", default="{}", help="the default script, as JSON")
    asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
