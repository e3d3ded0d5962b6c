"""Where signed checkpoints go besides the database, out of reach of whoever can write there."""

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from neuronetz_gateway.domain.checkpoint import CheckpointFormatError, SignedCheckpoint, parsed_line

STDOUT = "stdout"
_OWNER_ALONE = 0o600
_TAIL_BYTES = 64 * 1024


class CheckpointSink(Protocol):
    """Takes checkpoints in order. Its methods block: call them off the event loop. They raise OSError."""

    keeps: bool  # whether `last` knows what was sent by earlier processes

    def last(self) -> SignedCheckpoint | None:
        """The last checkpoint that has arrived."""

    def append(self, checkpoints: Sequence[SignedCheckpoint], after: SignedCheckpoint | None) -> bool:
        """Adds some, kept when this returns; False, with nothing done, where `after` is the last no more."""

    def digests(self) -> set[str]:
        """Which documents have arrived, by their digests."""


class StreamSink:
    """Lines on a stream, for a collector of logs; it remembers what this process has sent."""

    keeps = False

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._last: SignedCheckpoint | None = None

    def last(self) -> SignedCheckpoint | None:
        return self._last

    def append(self, checkpoints: Sequence[SignedCheckpoint], after: SignedCheckpoint | None) -> bool:
        if after != self._last:
            return False
        self._stream.write(_lines(checkpoints))
        self._stream.flush()
        self._last = checkpoints[-1]
        return True

    def digests(self) -> set[str]:
        return set() if self._last is None else {self._last.digest}


class FileSink:
    """Lines in a file that is only ever appended to; the processes of a machine may share it.

    A line that a crash has torn stays, on a line of its own; the whole one follows it.
    """

    keeps = True

    def __init__(self, path: Path) -> None:
        self._path = path

    def last(self) -> SignedCheckpoint | None:
        try:
            with self._path.open("rb") as file:
                return _last_in(file)
        except FileNotFoundError:
            return None

    def append(self, checkpoints: Sequence[SignedCheckpoint], after: SignedCheckpoint | None) -> bool:
        with self._locked() as file:
            if _last_in(file) != after:
                return False
            end = file.seek(0, os.SEEK_END)
            if end:
                file.seek(end - 1)
            torn = bool(end) and file.read(1) != b"\n"
            file.write((b"\n" if torn else b"") + _lines(checkpoints))
            file.flush()
            os.fsync(file.fileno())
        return True

    def digests(self) -> set[str]:
        return {checkpoint.digest for checkpoint, _ in read_lines(self._path) if checkpoint is not None}

    @contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _OWNER_ALONE)
        with os.fdopen(descriptor, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # until it is closed
            yield file


def sink_of(setting: str, stdout: Callable[[], BinaryIO]) -> CheckpointSink | None:
    """The sink of AUDIT_CHECKPOINT_SINK: none, stdout, or a file by its path."""
    if not setting:
        return None
    return StreamSink(stdout()) if setting == STDOUT else FileSink(Path(setting))


def read_lines(path: Path) -> Iterator[tuple[SignedCheckpoint | None, int]]:
    """Each checkpoint of a sink's file with the number of its line; None for a line that is none.

    A torn line, which the next one begins with, is passed over. Raises OSError.
    """
    with path.open("rb") as file:
        previous, count = b"", 0
        for count, line in enumerate(file, 1):
            if previous and not line.startswith(previous.removesuffix(b"\n")):
                yield _parsed(previous), count - 1
            previous = line
        if previous:
            yield _parsed(previous), count


def _parsed(line: bytes) -> SignedCheckpoint | None:
    try:
        return parsed_line(line.decode())
    except (CheckpointFormatError, UnicodeDecodeError):
        return None


def _last_in(file: BinaryIO) -> SignedCheckpoint | None:
    """The last whole line that is a checkpoint, looked for from the end."""
    end, size = file.seek(0, os.SEEK_END), _TAIL_BYTES
    while True:
        begin = max(0, end - size)
        file.seek(begin)
        *lines, _torn = file.read(end - begin).split(b"\n")
        for line in reversed(lines[1:] if begin else lines):
            if (found := _parsed(line)) is not None:
                return found
        if begin == 0:
            return None
        size *= 4


def _lines(checkpoints: Sequence[SignedCheckpoint]) -> bytes:
    return b"".join(checkpoint.line().encode() + b"\n" for checkpoint in checkpoints)
