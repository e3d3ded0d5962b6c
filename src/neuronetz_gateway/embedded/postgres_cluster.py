"""The files of a Postgres cluster: made once, found again after a killed run."""

import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from neuronetz_gateway.embedded.child import EmbeddedError, Identity, child_environment
from neuronetz_gateway.embedded.data_directory import private_directory
from neuronetz_gateway.embedded.postgres_install import Install
from neuronetz_gateway.embedded.unprivileged import give

SUPERUSER = "postgres"
ROLE = "gateway"
DATABASE = "gateway"
INIT_SECONDS = 120.0
PREDECESSOR_SECONDS = 10.0
POLL_SECONDS = 0.05
# The gateway is no superuser, as in production; databases of its own it may make, for tests.
FIRST_STATEMENTS = f"CREATE ROLE {ROLE} LOGIN CREATEDB\nCREATE DATABASE {DATABASE} OWNER {ROLE}\n"


def cluster_major(cluster: Path) -> int | None:
    """The major version that made the cluster, or None if there is none yet."""
    try:
        return int((cluster / "PG_VERSION").read_text().strip())
    except FileNotFoundError:
        return None


def make_cluster(cluster: Path, install: Install, identity: Identity, *, durable: bool) -> None:
    """Make the cluster with role and database ``gateway``, all or nothing: killed half-way, it is made anew.

    Raises `EmbeddedError`: one of Postgres' programs failed; the message holds what it said.
    """
    fresh = cluster.with_name(cluster.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    give(private_directory(fresh), identity)
    # trust: the socket lies in a directory that only we can enter; there is no other way in.
    words = [install.initdb, f"--pgdata={fresh}", "--encoding=UTF8", "--locale=C", f"--username={SUPERUSER}"]
    words += ["--auth-local=trust", "--auth-host=reject", "--no-instructions", *([] if durable else ["--no-sync"])]
    _run(words, identity, "")
    single = [install.postgres, "--single", "-D", str(fresh), "-c", "exit_on_error=on"]
    single += ["-c", f"fsync={'on' if durable else 'off'}", SUPERUSER]
    _run(single, identity, FIRST_STATEMENTS)
    fresh.rename(cluster)
    if durable:
        _sync(cluster.parent)


def clear_predecessor(cluster: Path) -> None:
    """Remove ``postmaster.pid`` of a run that was killed.

    Postgres itself trusts the process id in it too far: in a restarted container another process soon has that id.

    Raises `EmbeddedError`: that process is a Postgres on these very data, and goes on living.
    """
    pid_file = cluster / "postmaster.pid"
    deadline = time.monotonic() + PREDECESSOR_SECONDS
    while pid_file.exists():
        first = pid_file.read_text().split("\n", 1)[0].strip()
        if not first.isdigit() or str(cluster) not in _command_line(int(first)):
            pid_file.unlink(missing_ok=True)
        elif time.monotonic() > deadline:
            raise EmbeddedError(f"a Postgres (process {first}) already runs on the data in {cluster}")
        else:
            time.sleep(POLL_SECONDS)


def accepts_connections(cluster: Path) -> bool:
    """Whether the server says so in the status line (the eighth) of ``postmaster.pid``, where pg_ctl looks too."""
    try:
        lines = (cluster / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return False
    return len(lines) > 7 and lines[7].strip() == "ready"  # noqa: PLR2004 - the eighth line, as said


def _command_line(pid: int) -> str:
    """The command line of a process, empty if there is none."""
    if Path("/proc/self/cmdline").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="surrogateescape")
        except (FileNotFoundError, ProcessLookupError):
            return ""
    listing = ["/bin/ps", "-ww", "-p", str(pid), "-o", "command="]
    return subprocess.run(listing, capture_output=True, text=True, check=False).stdout  # noqa: S603 - fixed words


def _run(words: Sequence[str], identity: Identity, said: str) -> None:
    try:
        done = subprocess.run(  # noqa: S603 - programs of the wheel, words of our own
            [*identity.prefix, *words],
            input=said,
            capture_output=True,
            text=True,
            check=False,
            timeout=INIT_SECONDS,
            env=child_environment(),
            cwd="/",
            user=identity.uid,
            group=identity.gid,
            extra_groups=None if identity.uid is None else [],
        )
    except OSError as error:
        raise EmbeddedError(f"{words[0]} cannot be run as uid {identity.uid}: {error}") from error
    except subprocess.TimeoutExpired as error:
        raise EmbeddedError(f"{words[0]} did not end within {INIT_SECONDS:.0f} s") from error
    if done.returncode != 0:
        raise EmbeddedError(f"{words[0]} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def _sync(directory: Path) -> None:
    opened = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
