"""A Postgres of the test's own, to be killed, frozen, restarted, filled up."""

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from neuronetz_gateway.embedded.child import Child, Identity, start_child
from neuronetz_gateway.embedded.postgres import EmbeddedPostgres
from neuronetz_gateway.embedded.postgres_cluster import accepts_connections, clear_predecessor, cluster_major
from neuronetz_gateway.embedded.postgres_install import Install, find_install
from neuronetz_gateway.embedded.unprivileged import unprivileged
from tests.support.stores import Stores

SMALL_DISK_MIB = 12
_START_SECONDS = 30
# A standby can be had of it, a commit can be made to wait for one; deadlocks are found before the test gives up.
_SETTINGS = {"wal_level": "replica", "max_wal_senders": "4", "deadlock_timeout": "200ms", "checkpoint_timeout": "1h"}


class BreakablePostgres(EmbeddedPostgres):
    """Everything here is real: signals to its processes, settings of its own. `small_disk`, where that can be had, is a
    folder in which its processes, nobody else, see a disk of 12 MiB."""

    def __init__(self, data_dir: Path) -> None:
        identity, self.small_disk = _with_small_disk(data_dir)
        super().__init__(data_dir, durable=False, identity=identity)
        self._options: dict[str, str] = {}
        self._child: Child | None = None

    @property
    def admin(self) -> Stores:
        """Its superuser, in the database postgres."""
        return Stores(self.url_of("postgres", role="postgres"), "")

    @property
    def postmaster(self) -> int:
        return int((self._cluster / "postmaster.pid").read_text().split()[0])

    @property
    def processes(self) -> list[int]:
        """The postmaster first, then all of its children."""
        return [self.postmaster, *_children_of(self.postmaster)]

    def signal(self, number: signal.Signals) -> None:
        """To each of its processes."""
        for pid in self.processes:
            with suppress(ProcessLookupError):  # a session that has just ended
                os.kill(pid, number)

    async def kill(self) -> None:
        """SIGKILL to all of it; returns when it is gone."""
        self.signal(signal.SIGKILL)
        await self._gone()

    async def end(self) -> None:
        """A fast shutdown, as of a restart; returns when it is gone."""
        os.kill(self.postmaster, signal.SIGINT)
        await self._gone()

    async def begin(self, *, ready: bool = True, **options: str) -> None:
        """Start it again; returns when it accepts connections, or at once."""
        assert self._sockets is not None
        self._options = options
        clear_predecessor(self._cluster)
        install = find_install(None, cluster_major(self._cluster))
        self._child = start_child(
            self._command(install, self._sockets),
            name="Postgres",
            log=self._data_dir / "postgres.log",
            identity=self._identity or unprivileged(),
        )
        async with asyncio.timeout(_START_SECONDS):
            while ready and not accepts_connections(self._cluster):
                await asyncio.sleep(0.005)

    def standby_signal(self, *, there: bool) -> None:
        """Whether at its next start it believes to be a standby."""
        path = self._cluster / "standby.signal"
        if there:
            path.touch()
        else:
            path.unlink()

    def stop(self) -> None:
        if self._child is not None:
            self._child.stop(signal.SIGINT, seconds=20)
        super().stop()

    def _started(self, install: Install, identity: Identity, sockets: Path) -> Child:
        self._child = super()._started(install, identity, sockets)
        return self._child

    def _command(self, install: Install, sockets: Path) -> list[str]:
        settings = _SETTINGS | self._options
        return [*super()._command(install, sockets), *(word for item in settings.items() for word in _option(*item))]

    async def _gone(self) -> None:
        assert self._child is not None
        async with asyncio.timeout(_START_SECONDS):
            while not self._child.ended:
                await asyncio.sleep(0.005)


def _option(name: str, value: str) -> tuple[str, str]:
    return "-c", f"{name}={value}"


def _children_of(pid: int) -> Iterator[int]:
    listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    for line in listing.splitlines():
        child, parent = (int(word) for word in line.split())
        if parent == pid:
            yield child


def _with_small_disk(data_dir: Path) -> tuple[Identity, Path | None]:
    """As whom it runs, and where it has a disk that is soon full: a mount that only its own namespace sees."""
    ordinary = unprivileged()
    unshare = shutil.which("unshare")
    if unshare is None:
        return ordinary, None
    folder = data_dir / "small"
    folder.mkdir()
    mount = f'mount -t tmpfs -o size={SMALL_DISK_MIB}m,mode=0700 tmpfs "{folder}" && exec "$@"'
    inside = ordinary.prefix or (unshare, "--user", f"--map-user={os.getuid() or 1}", "--")
    prefix = (unshare, "--user", "--map-root-user", "--mount", "--", "sh", "-c", mount, "sh", *inside)
    trial = subprocess.run([*prefix, "true"], capture_output=True, check=False)
    return (Identity(prefix=prefix), folder) if trial.returncode == 0 and ordinary.uid is None else (ordinary, None)
