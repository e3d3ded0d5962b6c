"""A child process that dies with its parent, even if the parent gets SIGKILL.

On Linux ``setpriv --pdeathsig KILL`` stands in front of the command, so that the kernel does it. That signal follows
the *thread* that forked, which is why such a child is started from the main thread only. Elsewhere (macOS, a
util-linux without it) ``guard.py`` watches a pipe whose writing end only the parent holds.

Each child has a session of its own: Ctrl-C in a terminal reaches us, who then stop the children in order.
"""

import functools
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from neuronetz_gateway.embedded import guard

# What a server may see of our environment: nothing secret is among these.
PASSED_ENVIRONMENT = ("PATH", "HOME", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
POLL_SECONDS = 0.02
KILL_SECONDS = 5.0
LOG_KEPT_BYTES = 1024 * 1024
TAIL_BYTES = 4096
TAIL_LINES = 15


class EmbeddedError(Exception):
    """An embedded server cannot be had; the message is written for whoever typed the command."""


class NotInstalledError(EmbeddedError):
    """The wheel with the server's program is missing; the message names the extra to install."""


@dataclass(frozen=True)
class Identity:
    """As whom a program runs: as ourselves, through a prefix command, or as another account (0 < uid, gid)."""

    prefix: tuple[str, ...] = ()
    uid: int | None = None
    gid: int | None = None


OURSELVES = Identity()


class Child:
    """A running child process; made by `start_child`."""

    def __init__(
        self, process: subprocess.Popen[bytes], name: str, log: Path, log_start: int, pipe: int | None
    ) -> None:
        self._process = process
        self._name = name
        self._log = log
        self._log_start = log_start
        self._pipe = pipe

    @property
    def pid(self) -> int:
        """The process id of the server, or of its guard where there is one."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def log_tail(self) -> str:
        """What this run wrote last to its log, at most 15 lines."""
        with self._log.open("rb") as log:
            end = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_start, end - TAIL_BYTES))
            lines = log.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-TAIL_LINES:])

    def wait_until(self, ready: Callable[[], bool], *, seconds: float) -> None:
        """Block until ``ready()`` is true.

        Raises `EmbeddedError`: the child ended before, or was not ready within ``seconds``.
        """
        deadline = time.monotonic() + seconds
        while not ready():
            if self.ended:
                raise EmbeddedError(f"{self._name} ended while it was starting. Its log says:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise EmbeddedError(
                    f"{self._name} was not ready after {seconds:.0f} s. Its log says:\n{self.log_tail()}"
                )
            time.sleep(POLL_SECONDS)

    def stop(self, signal_number: int = signal.SIGTERM, *, seconds: float = 10.0) -> None:
        """Ask the child to end by ``signal_number``; after ``seconds`` kill it. Does nothing if it has ended."""
        self._send(signal_number)
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
        self._close_pipe()

    def kill(self) -> None:
        """End the child at once by SIGKILL."""
        guarded = self._pipe is not None
        self._close_pipe()
        if not guarded:
            self._process.kill()
        try:
            self._process.wait(KILL_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _send(self, signal_number: int) -> None:
        if self._pipe is None:
            self._process.send_signal(signal_number)
            return
        try:
            os.write(self._pipe, bytes([signal_number]))
        except BrokenPipeError:
            self._process.poll()  # the guard ended with its server: nothing is left to signal

    def _close_pipe(self) -> None:
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None


def start_child(
    command: Sequence[str],
    *,
    name: str,
    log: Path,
    identity: Identity = OURSELVES,
    pass_fds: Sequence[int] = (),
    guarded: bool | None = None,
) -> Child:
    """Start ``command`` so that it dies with us; stdout and stderr go to the file ``log`` (mode 0600).

    ``guarded`` asks for the guard process (True) or the kernel's death signal (False); None takes the
    latter if it works.

    Raises `EmbeddedError`: not called from the main thread, where the kernel's death signal is used.
    Raises `OSError`: the program cannot be executed.
    """
    if guarded is None:
        guarded = death_signal_prefix() is None
    output = _open_log(log)
    try:
        start = _start_guarded if guarded else _start_with_death_signal
        process, pipe = start(command, identity, output, pass_fds)
        return Child(process, name, log, log_start=_size(output), pipe=pipe)
    finally:
        os.close(output)


@functools.cache
def death_signal_prefix() -> tuple[str, ...] | None:
    """The words that put a parent-death signal in front of a command, or None where that does not work."""
    setpriv = shutil.which("setpriv")
    nothing = shutil.which("true")
    if sys.platform != "linux" or setpriv is None or nothing is None:
        return None
    prefix = (setpriv, "--pdeathsig", "KILL", "--")
    # Tried, since smaller implementations of setpriv lack the option.
    trial = subprocess.run([*prefix, nothing], capture_output=True, check=False)  # noqa: S603 - fixed words
    return prefix if trial.returncode == 0 else None


def child_environment() -> dict[str, str]:
    """The environment of every child: a few harmless variables of ours, the C locale."""
    passed = {name: os.environ[name] for name in PASSED_ENVIRONMENT if name in os.environ}
    return passed | {"LC_ALL": "C", "TZ": "UTC"}


def _start_with_death_signal(
    command: Sequence[str], identity: Identity, output: int, pass_fds: Sequence[int]
) -> tuple[subprocess.Popen[bytes], None]:
    if threading.current_thread() is not threading.main_thread():
        raise EmbeddedError("embedded servers are started from the main thread: they would die with any other")
    # Innermost: entering a user namespace or changing the uid would clear the signal again.
    words = [*identity.prefix, *(death_signal_prefix() or ()), *command]
    process = subprocess.Popen(  # noqa: S603 - commands are lists of our own words, never a shell line
        words,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
        cwd="/",
        env=child_environment(),
        pass_fds=pass_fds,
        user=identity.uid,
        group=identity.gid,
        extra_groups=None if identity.uid is None else [],
    )
    return process, None


def _start_guarded(
    command: Sequence[str], identity: Identity, output: int, pass_fds: Sequence[int]
) -> tuple[subprocess.Popen[bytes], int]:
    reading, writing = os.pipe()
    account = ["" if part is None else str(part) for part in (identity.uid, identity.gid)]
    words = [sys.executable, "-I", str(guard.__file__), str(reading), *account, *identity.prefix, *command]
    try:
        process = subprocess.Popen(  # noqa: S603 - commands are lists of our own words, never a shell line
            words,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd="/",
            env=child_environment(),
            pass_fds=(reading, *pass_fds),
        )
    except BaseException:
        os.close(writing)
        raise
    finally:
        os.close(reading)
    return process, writing


def _open_log(path: Path) -> int:
    if path.exists() and path.stat().st_size > LOG_KEPT_BYTES:
        path.replace(path.with_name(path.name + ".old"))
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.fchmod(log, 0o600)
    return log


def _size(file: int) -> int:
    return os.fstat(file).st_size
