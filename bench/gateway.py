"""The gateway under test, with its embedded stores, as `quickstart` starts it."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.children import stop

START_SECONDS = 120
PROGRAM = str(Path(sys.executable).with_name("neuronetz-gateway"))
# Bounds of the whole process, raised above what the cases put on it: else 2,000 streams would be refused, and all but
# the first sixty unknown keys of a minute be told 429.
ENVIRONMENT = {"UPSTREAM_MAX_IN_FLIGHT": "8192", "AUTH_FAILURES_PER_MINUTE": "1000000000"}


class GatewayError(RuntimeError):
    """The gateway did not come up."""


@dataclass(frozen=True, slots=True)
class Gateway:
    process: subprocess.Popen[bytes]
    base_url: str
    env_file: Path
    tenant: str
    bearer: dict[str, str] = field(repr=False)


def start(data_dir: Path, port: int, upstream: str, log: Path) -> Gateway:
    """The gateway with its stores below it; beside the log a file holds what it said, with its key.

    Raises:
        GatewayError: it ended, or was silent for two minutes.
    """
    words = ["quickstart", "--data-dir", str(data_dir), "--port", str(port), "--upstream", upstream]
    process, told = _started(words, log)
    url = str(told["base_url"]).rstrip("/")
    bearer = {"Authorization": f"Bearer {told['api_key']}"}
    return Gateway(process, url, Path(told["env_file"]), str(told["tenant"]), bearer)


def start_workers(beside: Gateway, workers: int, port: int, log: Path) -> subprocess.Popen[bytes]:
    """Several workers on another port, on the stores of a gateway that runs; raises GatewayError as above."""
    words = ["serve", "--workers", str(workers), "--port", str(port), "--env-file", str(beside.env_file)]
    return _started(words, log)[0]


def _started(words: list[str], log: Path) -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
    out = log.with_suffix(".out")
    # Files, not pipes: nobody would read on, and a full pipe stops the writer.
    with out.open("wb") as stdout, log.open("wb") as stderr:
        process = subprocess.Popen(
            [PROGRAM, *words, "--json"], stdout=stdout, stderr=stderr, env=os.environ | ENVIRONMENT
        )
    try:
        return process, _first_line(process, out, log)
    except BaseException:
        stop(process)
        raise


def _first_line(process: subprocess.Popen[bytes], out: Path, log: Path) -> dict[str, Any]:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        line, end, _ = out.read_text().partition("\n")
        if end:
            told: dict[str, Any] = json.loads(line)
            return told
        time.sleep(0.1)
    raise GatewayError(f"the gateway said nothing; the end of its log:\n{log.read_text(errors='replace')[-2000:]}")
