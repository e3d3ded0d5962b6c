"""The command that serves the gateway."""

import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from neuronetz_gateway.cli import output, serving
from neuronetz_gateway.cli.options import ENV_FILE_VARIABLE, AsJson, EnvFile
from neuronetz_gateway.cli.runtime import run_with
from neuronetz_gateway.counters.admissions import RateCounters
from neuronetz_gateway.counters.errors import CountersUnavailableError
from neuronetz_gateway.counters.opening import counters_for_a_moment
from neuronetz_gateway.db.migrating import migrate_when_there
from neuronetz_gateway.observability.logging import configure_logging
from neuronetz_gateway.settings import load_settings

_METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


def serve(
    host: Annotated[
        str | None, typer.Option("--host", metavar="HOST", show_default=False, help="The address; without it: HOST.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            "--port", min=0, max=65535, metavar="PORT", show_default=False, help="The port; without it: PORT."
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", min=1, max=64, metavar="N", show_default=False, help="Processes; without it: WORKERS."
        ),
    ] = None,
    as_json: AsJson = False,
    env_file: EnvFile = None,
) -> None:
    """Serve the gateway until SIGTERM or Ctrl-C, after bringing its database to this version.

    From SIGTERM on /readyz says 503, requests are taken for DRAIN_ACCEPT_S more, running ones have DRAIN_TIMEOUT_S to
    end; Ctrl-C takes no more at once, a second signal ends what runs. HOST, PORT and WORKERS are settings. Postgres,
    Redis and Ollama may come later: serve waits for Postgres, /readyz tells what is missing from then on.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # until uvicorn serves, SIGTERM ends us as Ctrl-C does
    settings = load_settings(env_file)
    number = workers or settings.workers
    address = host or settings.host
    with ExitStack() as bound:
        listener = bound.enter_context(serving.listen(address, settings.port if port is None else port))
        listeners = [listener]
        if (for_metrics := serving.listen_for_metrics(settings)) is not None:
            listeners.append(bound.enter_context(for_metrics))
        if number == 1:
            import_module(serving.APP.partition(":")[0])  # takes a second, better now than when Postgres has come
        migrate_when_there(settings.database_url.get_secret_value(), output.remark)
        run_with(counters_for_a_moment, _check_redis, settings)
        if env_file is not None:
            os.environ[ENV_FILE_VARIABLE] = str(env_file.resolve())
        addresses = {"base_url": serving.base_url(address, listener)}
        if for_metrics is not None:
            addresses["metrics_url"] = f"{serving.base_url(settings.metrics_host, for_metrics)}/metrics"

        def announce() -> None:
            _announce(addresses, number, as_json=as_json)

        if number == 1:
            serving.serve_alone(serving.serving_config(settings), listeners, announce)
            return
        configure_logging(settings.log_level)  # this process has the workers' comings and goings to tell
        with _shared_metrics():
            serving.serve_with_workers(serving.serving_config(settings, workers=number), listeners, announce)


def _announce(addresses: dict[str, str], workers: int, *, as_json: bool) -> None:
    if as_json:
        output.document({**addresses, "workers": workers})
        return
    told = f"Serving on {addresses['base_url']} with {workers} worker{'s' if workers > 1 else ''}; Ctrl-C stops."
    metrics = f" Metrics: {addresses['metrics_url']}" if "metrics_url" in addresses else ""
    output.remark(f"{told}{metrics}")


async def _check_redis(counters: RateCounters) -> None:
    """Raises EvictingStoreError here, in one line; a Redis that is away may still come, /readyz tells it until then."""
    with suppress(CountersUnavailableError):
        await counters.check_eviction_policy()


@contextmanager
def _shared_metrics() -> Iterator[None]:
    """A private directory in which the workers of one run keep their counters, so that any of them can sum all."""
    with tempfile.TemporaryDirectory(prefix="neuronetz-metrics-") as directory:
        Path(directory).chmod(0o700)
        os.environ[_METRICS_VARIABLE] = directory
        yield
