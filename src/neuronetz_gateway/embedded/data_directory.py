"""The private files of an embedded server: its directory, its lock, the place of its socket."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from neuronetz_gateway.embedded.child import EmbeddedError

# sun_path holds 104 bytes on macOS, 108 on Linux, both with the closing NUL.
SOCKET_PATH_BYTES = 103


def private_directory(path: Path) -> Path:
    """Make ``path`` where it is missing, readable by us alone (0700) in any case."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.chmod(0o700)
    return path


@contextmanager
def locked(data_dir: Path, name: str) -> Iterator[None]:
    """Hold the data of the server ``name`` for ourselves; the lock goes with our process, however it ends.

    Raises `EmbeddedError`: another process holds it.
    """
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(data_dir / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EmbeddedError(
                f"another process already runs {name} on the data in {data_dir}: stop it, or take another directory"
            ) from None
        yield
    finally:
        os.close(lock)


@contextmanager
def socket_directory(data_dir: Path, name: str, socket_name: str) -> Iterator[Path]:
    """An empty directory (0700) for the socket ``socket_name``; a temporary one where ``data_dir`` lies too deep."""
    beside = data_dir / f"{name}-run"
    if len(os.fsencode(beside / socket_name)) <= SOCKET_PATH_BYTES:
        # Emptied, since a socket's lock file of a killed run may name a process id that lives again.
        shutil.rmtree(beside, ignore_errors=True)
        directory = private_directory(beside)
    else:
        directory = Path(tempfile.mkdtemp(prefix="neuronetz-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
