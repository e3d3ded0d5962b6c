"""What a document says to type is carried out: by a shell, or in this process where starting takes seconds."""

import os
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import redis

from neuronetz_gateway.embedded.postgres_install import find_install
from tests.support.commands import Done, command

_SECONDS = 60


def paste(lines: list[str], variables: Mapping[str, str], env_file: Path | None = None) -> list[Done]:
    """Every line in turn, each of which must succeed; what the gateway's own commands left behind."""
    return [done for line in lines if (done := _typed(line, env_file, variables)) is not None]


def postgres_variables(database_url: str) -> dict[str, str]:
    """What leads the programs of Postgres to a server that is reached by a socket, with those programs first."""
    (sockets,) = parse_qs(urlsplit(database_url).query)["host"]
    return {"PGHOST": sockets, "PATH": f"{find_install(None, None).bin_dir}:{os.environ['PATH']}"}


def _typed(line: str, env_file: Path | None, variables: Mapping[str, str]) -> Done | None:
    program, *words = _words(line, variables)
    if program == "neuronetz-gateway":
        done = command(*words, env_file=env_file)
        assert done.status == 0, f"{line}: {done.err}{done.out}"
        return done
    if program == "redis-cli":
        _ask_redis(words)
    else:
        _run(line, variables)
    return None


def _words(line: str, variables: Mapping[str, str]) -> list[str]:
    """The words that a shell would make of a line that has no more than quotes and $NAMES."""
    for name, value in variables.items():
        line = line.replace(f"${name}", value)
    return shlex.split(line)


def _ask_redis(words: list[str]) -> Any:
    """As redis-cli does it, which no wheel has."""
    option, url, *request = words
    assert option == "-u"
    with redis.Redis.from_url(url) as client:
        return client.execute_command(*request)


def _run(line: str, variables: Mapping[str, str]) -> None:
    done = subprocess.run(
        ["bash", "-e", "-c", line],
        env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **variables},
        cwd=variables.get("PWD"),
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{line}: {done.stderr}"
