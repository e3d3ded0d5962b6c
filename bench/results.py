"""Where results are kept, with the machine that they were measured on."""

import json
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench import caddy, nginx

FOLDER = Path(__file__).parent / "results"


def save(kind: str, content: Mapping[str, Any]) -> Path:
    """Writes bench/results/TIME-KIND.json."""
    FOLDER.mkdir(exist_ok=True)
    file = FOLDER / f"{time.strftime('%Y%m%d-%H%M%S')}-{kind}.json"
    file.write_text(json.dumps({"machine": machine(), **content}, indent=1) + "\n")
    return file


def machine() -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "processor": _processor(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "gateway": version("neuronetz-gateway"),
        "nginx": _told(nginx.program(), "-v"),
        "caddy": _told(caddy.program(), "version"),
        "load": "wrk" if shutil.which("wrk") else "asyncio",
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _told(program: str | None, argument: str) -> str | None:
    """The first words of what a program says of its version."""
    if program is None:
        return None
    done = subprocess.run([program, argument], capture_output=True, text=True, timeout=20, check=False)
    return (done.stdout + done.stderr).partition("\n")[0].removeprefix("nginx version: ")
