"""Where an export goes: a file that appears whole or not at all, or stdout for as long as somebody reads."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from neuronetz_gateway.errors import ConflictError

type Write = Callable[[str], object]

_OWNER_ALONE = 0o600


class ReaderLeftError(Exception):
    """Whoever read our stdout has seen enough."""


@contextmanager
def whole_file(path: Path, *, force: bool) -> Iterator[Write]:
    """Writes beside the path, puts it there at the end; on an error nothing is left and what was there stays.

    Raises ConflictError where something is there already, unless `force` replaces it.
    """
    _refuse_if_there(path, force=force)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ALONE)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            yield file.write
            file.flush()
            os.fsync(file.fileno())
        _refuse_if_there(path, force=force)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def reader_of_stdout() -> Iterator[Write]:
    """Writes to stdout; raises ReaderLeftError where its reader is gone (`| head`)."""

    def write(text: str) -> None:
        try:
            print(text, end="", flush=True)
        except BrokenPipeError:
            _silence_stdout()
            raise ReaderLeftError from None

    yield write


def _refuse_if_there(path: Path, *, force: bool) -> None:
    if path.is_dir():
        raise ConflictError(f"{path} is a folder; give the name of a file.")
    if not force and (path.exists() or path.is_symlink()):
        raise ConflictError(f"{path} exists already; --force replaces it.")


def _silence_stdout() -> None:
    """Python flushes stdout once more at its end, which would fail as well."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123 - a device, not a file of ours
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
