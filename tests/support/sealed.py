"""A program run as a container would run it: another user, no capability, a root that nobody can write to."""

import asyncio
import os
import shlex
import signal
import stat
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.programs import Program

USER = 10001  # of the Dockerfile
# An interpreter where only root may go is shown to the user at its own place, the rest of that place is hidden.
_SHOW_INTERPRETER = """
mkdir -p {folder}/interpreter
mount --bind {python} {folder}/interpreter
mount -t tmpfs -o mode=0755 none {top}
mkdir -p {python}
mount --bind {folder}/interpreter {python}
"""
# In a mount namespace of its own: the one place to write to is a file system in memory, everything else is read-only.
_SEAL = """
set -e
mkdir -p {folder}/tmp {folder}/empty
{show_interpreter}
mount -t tmpfs -o mode=1777 none {folder}/tmp
mount -o remount,ro,bind /
cd {folder}/empty
exec setpriv --reuid {user} --regid {user} --clear-groups --bounding-set=-all --inh-caps=-all --no-new-privs -- \\
  env -i TMPDIR={folder}/tmp {environment} {command}
"""


def require_root() -> None:
    """Skips a test that cannot seal anything here, saying why."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("not root on Linux, so no mount can be made read-only")


def _shown_interpreter(folder: Path) -> str:
    python = Path(sys.base_prefix)
    top = Path("/", *python.parts[1:2])
    is_open = top.stat().st_mode & stat.S_IXOTH
    return "" if is_open else _SHOW_INTERPRETER.format(folder=folder, python=python, top=top)


@asynccontextmanager
async def sealed(*command: str, folder: Path, environment: Mapping[str, str]) -> AsyncIterator[Program]:
    """Starts a program within a folder that everybody may look into; ended by SIGTERM."""
    script = _SEAL.format(
        folder=folder,
        show_interpreter=_shown_interpreter(folder),
        user=USER,
        environment=" ".join(shlex.quote(f"{name}={value}") for name, value in environment.items()),
        command=shlex.join(command),
    )
    log = folder / "log"
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            "unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", script,
            stdout=asyncio.subprocess.PIPE, stderr=errors,
        )  # fmt: skip
    running = Program(process, log)
    try:
        yield running
    finally:
        if process.returncode is None:
            await running.ended_by(signal.SIGTERM)
