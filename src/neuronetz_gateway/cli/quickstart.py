"""The command that sets up everything beneath a gateway, then serves it."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from neuronetz_gateway.cli import output, runtime, serving, snippets
from neuronetz_gateway.cli.demo_tenant import DEMO_TENANT, Demo, prepared
from neuronetz_gateway.cli.embedded_stack import ModelServer, Stack, embedded_stores, model_server
from neuronetz_gateway.cli.opened_upstream import management_with_upstream
from neuronetz_gateway.cli.options import ENV_FILE_VARIABLE, AsJson
from neuronetz_gateway.cli.quickstart_files import QuickstartFiles
from neuronetz_gateway.db.migrating import migrate
from neuronetz_gateway.errors import ConflictError
from neuronetz_gateway.settings import Settings, load_settings

_DEFAULT_PORT = 8080

DataDir = Annotated[
    Path, typer.Option("--data-dir", metavar="DIR", help="Where the data live; a restart finds them again.")
]
Host = Annotated[str, typer.Option("--host", metavar="HOST", help="The address to listen on.")]
Port = Annotated[
    int | None,
    typer.Option(
        "--port",
        min=0,
        max=65535,
        metavar="PORT",
        show_default=False,
        help="The port; 0 takes a free one. Without it: 8080, or a free one where that is taken.",
    ),
]
UpstreamChoice = Annotated[
    str,
    typer.Option(
        "--upstream",
        metavar="auto|demo|URL",
        help="The model server: auto takes Ollama at OLLAMA_BASE_URL (http://127.0.0.1:11434) if it answers, else the "
        "demo, a small real model.",
    ),
]


@dataclass(frozen=True, slots=True)
class Ready:
    """Everything that stands before the gateway itself is served."""

    settings: Settings
    files: QuickstartFiles
    found: ModelServer
    demo: Demo


def quickstart(
    data_dir: DataDir = Path(".quickstart"),
    host: Host = "127.0.0.1",
    port: Port = None,
    upstream: UpstreamChoice = "auto",
    as_json: AsJson = False,
) -> None:
    """Run a whole gateway here: stores, tenant, key, model server. Ctrl-C stops all of it.

    Starts a real Postgres with a real Valkey as children that die with this process, migrates, makes the tenant demo
    with one key, finds Ollama (or runs a small real model), serves. A restart on the same directory finds its data.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # until uvicorn serves, SIGTERM ends us as Ctrl-C does
    try:
        with ExitStack() as running:
            listener = _listener(host, port)
            running.callback(listener.close)
            ready = running.enter_context(_ready(data_dir.resolve(), upstream, serving.address_of(host, listener)))
            running.callback(_stop_in_peace)
            _serve(ready, serving.base_url(host, listener), listener, as_json=as_json)
    except KeyboardInterrupt:
        pass
    output.remark("Stopped; everything that was started here has ended.")


@contextmanager
def _ready(data_dir: Path, upstream: str, address: tuple[str, int]) -> Iterator[Ready]:
    with ExitStack() as running:
        output.remark(f"Starting Postgres and Valkey on {data_dir} ...")
        stack = running.enter_context(embedded_stores(data_dir))
        found = running.enter_context(model_server(upstream, data_dir))
        output.remark(found.sentence)
        files = QuickstartFiles(data_dir)
        pepper, new_pepper = files.pepper()
        values = _settings_values(stack, found, pepper, address)
        files.write_settings(values)
        settings = _loaded(files.env_file, values)
        migrate(settings.database_url.get_secret_value())
        demo = runtime.run_with(
            management_with_upstream,
            lambda opened: prepared(opened.managed, opened.upstream, files, keys_are_dead=new_pepper),
            settings,
        )
        yield Ready(settings, files, found, demo)


def _serve(ready: Ready, base_url: str, listener: socket.socket, *, as_json: bool) -> None:
    os.environ[ENV_FILE_VARIABLE] = str(ready.files.env_file)
    if ready.demo.remark:
        output.remark(ready.demo.remark)

    def announce() -> None:
        key = ready.demo.key.value if ready.demo.key else None
        if as_json:
            output.document(
                {
                    "base_url": base_url,
                    "api_key": key,
                    "tenant": DEMO_TENANT,
                    "upstream": ready.found.name,
                    "env_file": str(ready.files.env_file),
                }
            )
        else:
            snippets.welcome(base_url, key, ready.demo.model, ready.found.sentence, ready.files.env_file)

    # Nobody has to be turned away from what one person runs on one machine.
    serving.serve_alone(serving.serving_config(ready.settings, accept_seconds=0), [listener], announce)


def _listener(host: str, port: int | None) -> socket.socket:
    if port is not None:
        return serving.listen(host, port)
    try:
        return serving.listen(host, _DEFAULT_PORT)
    except ConflictError:
        output.remark(f"Port {_DEFAULT_PORT} is taken here, so a free one is used.")
        return serving.listen(host, 0)


def _settings_values(stack: Stack, found: ModelServer, pepper: str, address: tuple[str, int]) -> dict[str, str]:
    return {
        "ENVIRONMENT": "development",
        "DATABASE_URL": stack.database_url,
        "REDIS_URL": stack.redis_url,
        "OLLAMA_BASE_URL": found.base_url,
        "KEY_PEPPER": pepper,
        "HOST": address[0],
        "PORT": str(address[1]),
        "TRUSTED_PROXIES": "",
        "METRICS_PORT": "0",  # one person on one machine looks for them where everything else is
        "PLAYGROUND_ENABLED": "true",
    }


def _loaded(env_file: Path, values: dict[str, str]) -> Settings:
    """The settings as every other command will read them: what the shell says of these names is set aside."""
    for name in values:
        os.environ.pop(name, None)
        os.environ.pop(f"{name}_FILE", None)
    return load_settings(env_file)


def _stop_in_peace() -> None:
    """From here on another Ctrl-C does not disturb the stopping of the stores, which takes a moment."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
