"""A folder in memory for servers whose data need not last."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

MEMORY = Path("/dev/shm")  # noqa: S108 - each run makes a folder of its own in it
ROOM_BYTES = 1 << 30  # some 100 MiB are used, by each worker
_PREFIX = "neuronetz-stores-"
_UNFINISHED = "neuronetz-unfinished-"


def has_memory_to_spare(memory: Path = MEMORY) -> bool:
    """Whether data may be kept there: a container often has next to no /dev/shm, other systems have none."""
    return memory.is_dir() and shutil.disk_usage(memory).free >= ROOM_BYTES


@contextmanager
def memory_folder(memory: Path = MEMORY) -> Iterator[Path]:
    """A folder that is gone once it is left; with it goes what runs that were killed have left."""
    _sweep(memory)
    unfinished = Path(mkdtemp(prefix=_UNFINISHED, dir=memory))
    lock = os.open(unfinished, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Only now may others find it, since they sweep what nobody has locked.
        folder = unfinished.rename(unfinished.with_name(unfinished.name.replace(_UNFINISHED, _PREFIX)))
        folder.chmod(0o711)  # Postgres, which does not run as root, has to get through
        try:
            yield folder
        finally:
            shutil.rmtree(folder)
    finally:
        os.close(lock)


def _sweep(memory: Path) -> None:
    for folder in memory.glob(f"{_PREFIX}*"):
        try:
            lock = os.open(folder, os.O_RDONLY)
        except OSError:  # somebody else's, or just gone
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # in use
            continue
        else:
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)
