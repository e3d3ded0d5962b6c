"""Commands of the command line: in this process where many are tried, as processes where the whole counts."""

import asyncio
import io
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from neuronetz_gateway.cli.application import build
from neuronetz_gateway.cli.main import status_of
from tests.support.forks import Zygote
from tests.support.gateways import COMMAND


@dataclass(frozen=True, slots=True)
class Done:
    """What a command left behind."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout; a remark on stderr has no place beside it."""
        assert self.status == 0, self.err
        assert self.err == ""
        assert self.out.count("\n") == 1
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The one line on stderr."""
        assert self.status == 1
        assert self.out == ""
        assert self.err.startswith("error: ")
        assert self.err.count("\n") == 1
        assert "Traceback" not in self.err
        return self.err.removeprefix("error: ").strip()


class Terminal(io.StringIO):
    """A stdout that takes itself for a terminal, as wide as the variable COLUMNS says."""

    def isatty(self) -> bool:
        return True


def command(*words: str, env_file: Path | None = None) -> Done:
    """The same as the program does, without the seconds that starting it takes."""
    out, err = io.StringIO(), io.StringIO()
    with _logging_as_before(), redirect_stdout(out), redirect_stderr(err):
        try:
            status = status_of(
                lambda: build()([*words, *_env_words(env_file)], prog_name="neuronetz-gateway", standalone_mode=False)
            )
        except SystemExit as leaving:  # typer's way to end where a shell wants its words completed
            status = int(leaving.code or 0)
    return Done(status, out.getvalue(), err.getvalue())


def command_process(*words: str, env_file: Path | None = None, cwd: Path | None = None) -> Done:
    """The program itself."""
    done = subprocess.run(
        [COMMAND, *words, *_env_words(env_file)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PATH": os.environ["PATH"]},
        cwd=cwd,
    )
    return Done(done.returncode, done.stdout, done.stderr)


async def command_fork(zygote: Zygote, folder: Path, *words: str, env_file: Path | None = None) -> Done:
    """The program itself, but for the imports, which are done: its streams, its status, its end."""
    out, err = folder / "stdout", folder / "stderr"
    for stream in (out, err):
        stream.write_bytes(b"")
    with zygote.attached():
        environment = {"PATH": os.environ["PATH"]}
        running = await zygote.fork(*words, *_env_words(env_file), log=err, out=out, environment=environment)
        status = await asyncio.wait_for(running.wait(), 60)
    return Done(status, out.read_text(encoding="utf-8"), err.read_text(encoding="utf-8"))


def _env_words(env_file: Path | None) -> list[str]:
    return [] if env_file is None else ["--env-file", str(env_file)]


@contextmanager
def _logging_as_before() -> Iterator[None]:
    """A command sets up structlog for its own short life, which in a test run goes on."""
    before = structlog.get_config() if structlog.is_configured() else None
    try:
        yield
    finally:
        if before is None:
            structlog.reset_defaults()
        else:
            structlog.configure(**before)
