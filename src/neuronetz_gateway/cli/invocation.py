"""How the person at the terminal calls this program, so that every hint can be pasted."""

import shlex
import shutil
import sys
from pathlib import Path

NAME = "neuronetz-gateway"


def command_line(*words: str, env_file: Path | None = None) -> str:
    """A command of this program as it works where it is read: by name on the PATH, else by its path."""
    tail = () if env_file is None else ("--env-file", str(env_file))
    return shlex.join((_program(), *words, *tail))


def interpreter() -> str:
    """The Python that runs us, which has the SDKs where the development set-up is used."""
    return shlex.quote(_from_here(Path(sys.executable)))


def _program() -> str:
    beside = Path(sys.executable).with_name(NAME)
    return NAME if shutil.which(NAME) or not beside.is_file() else _from_here(beside)


def _from_here(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
