"""The gateway under test, with its embedded stores, as `quickstart` starts it."""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

START_SECONDS = 120
STOP_SECONDS = 20
PROGRAM = str(Path(sys.executable).with_name("neuronetz-gateway"))


class GatewayError(RuntimeError):
    """The gateway did not come up, or refused a command."""


@dataclass(frozen=True, slots=True)
class Gateway:
    process: subprocess.Popen[bytes]
    base_url: str
    api_key: str


def start(folder: Path, port: int, upstream: str) -> Gateway:
    """Start it, with limits and budgets that are counted but never reached.

    Raises:
        GatewayError: it ended, was silent for two minutes, or refused a command.
    """
    data = folder / "gateway"
    command = [PROGRAM, "quickstart", "--data-dir", str(data), "--port", str(port), "--upstream", upstream, "--json"]
    out, log = folder / "gateway.out", folder / "gateway.log"
    # Files, not pipes: nobody would read on, and a full pipe stops the writer.
    with out.open("wb") as stdout, log.open("wb") as stderr:
        process = subprocess.Popen(command, stdout=stdout, stderr=stderr)
    try:
        told = _first_line(process, out, log)
        where = ["--env-file", str(told["env_file"]), "--tenant", str(told["tenant"])]
        _command("set-limits", *where, "--rpm", "100000000", "--tpm", "1000000000000", "--concurrent", "100000")
        _command("set-budget", *where, "--daily", "1000000000000", "--monthly", "30000000000000")
        _command("set-models", *where, "--allow-all")
    except BaseException:
        stop(process)
        raise
    return Gateway(process, str(told["base_url"]).rstrip("/"), str(told["api_key"]))


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end; kill it if it does not."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _first_line(process: subprocess.Popen[bytes], out: Path, log: Path) -> dict[str, Any]:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        line, end, _ = out.read_text().partition("\n")
        if end:
            told: dict[str, Any] = json.loads(line)
            return told
        time.sleep(0.1)
    raise GatewayError(f"quickstart said nothing; the end of its log:\n{log.read_text(errors='replace')[-2000:]}")


def _command(*arguments: str) -> None:
    done = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise GatewayError(f"{arguments[0]} failed: {done.stderr[-2000:]}")
