"""A real Postgres as a child process, reached by a Unix socket alone."""

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import quote

from neuronetz_gateway.embedded.child import Child, EmbeddedError, Identity, start_child
from neuronetz_gateway.embedded.data_directory import locked, socket_directory
from neuronetz_gateway.embedded.postgres_cluster import (
    DATABASE,
    PREDECESSOR_SECONDS,
    ROLE,
    accepts_connections,
    clear_predecessor,
    cluster_major,
    make_cluster,
)
from neuronetz_gateway.embedded.postgres_install import Install, find_install
from neuronetz_gateway.embedded.unprivileged import give, unprivileged

START_SECONDS = 60.0
STOP_SECONDS = 20.0
RETRY_SECONDS = 0.2
SOCKET_NAME = ".s.PGSQL.5432"
# What a Postgres says while sessions of a killed predecessor still end; they need a moment to notice.
PREDECESSOR_WORDS = "pre-existing shared memory block"

SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "128MB",
    # Also without fsync: a commit that was answered survives a kill of every process.
    "synchronous_commit": "on",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",  # containers often have next to no /dev/shm
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Neither statements nor their values reach the log: they could carry what is private.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}
DURABLE = {"fsync": "on", "full_page_writes": "on"}
FAST = {"fsync": "off", "full_page_writes": "off"}


class EmbeddedPostgres:
    """Postgres of a wheel on ``data_dir/postgres``, with a database ``gateway`` that a role ``gateway`` owns.

    ``bin_dir`` names another installation, ``identity`` as whom it runs (by default `unprivileged`).
    ``durable=False`` leaves out fsync, for tests: data still survive a killed process, not a killed machine.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        bin_dir: Path | None = None,
        durable: bool = True,
        identity: Identity | None = None,
    ) -> None:
        self._data_dir = data_dir.resolve()
        self._cluster = self._data_dir / "postgres"
        self._bin_dir = bin_dir
        self._durable = durable
        self._identity = identity
        self._running = ExitStack()
        self._sockets: Path | None = None

    @property
    def url(self) -> str:
        """The URL of the gateway's database, for SQLAlchemy with asyncpg. Raises `EmbeddedError` before `start`."""
        return self.url_of(DATABASE, role=ROLE)

    def url_of(self, database: str, *, role: str = ROLE) -> str:
        """The URL of another database; the role ``postgres`` is the superuser, for tests that break things."""
        if self._sockets is None:
            raise EmbeddedError("Postgres has not been started")
        return f"postgresql+asyncpg://{role}@/{database}?host={quote(str(self._sockets))}"

    def start(self) -> None:
        """Make the cluster where there is none, start Postgres; return when it accepts connections.

        To be called from the main thread.

        Raises `EmbeddedError`: it cannot be started, with the end of its log.
        """
        if self._sockets is not None:
            raise EmbeddedError("Postgres is already started")
        with ExitStack() as starting:
            starting.enter_context(locked(self._data_dir, "postgres"))
            sockets = starting.enter_context(socket_directory(self._data_dir, "postgres", SOCKET_NAME))
            starting.enter_context(self._server(sockets))
            self._sockets = sockets
            self._running = starting.pop_all()

    def stop(self) -> None:
        """Stop Postgres by a fast shutdown: sessions are ended, all is written. Does nothing where it does not run."""
        self._sockets = None
        self._running.close()

    @contextmanager
    def _server(self, sockets: Path) -> Iterator[None]:
        install = find_install(self._bin_dir, cluster_major(self._cluster))
        identity = self._identity or unprivileged()
        give(self._data_dir, identity, deep=False)  # itself alone: the way to the cluster
        for path in (self._cluster, sockets):
            give(path, identity)
        if cluster_major(self._cluster) is None:
            make_cluster(self._cluster, install, identity, durable=self._durable)
        clear_predecessor(self._cluster)
        child = self._started(install, identity, sockets)
        try:
            yield
        finally:
            child.stop(signal.SIGINT, seconds=STOP_SECONDS)

    def _started(self, install: Install, identity: Identity, sockets: Path) -> Child:
        deadline = time.monotonic() + PREDECESSOR_SECONDS
        while True:
            child = start_child(
                self._command(install, sockets),
                name="Postgres",
                log=self._data_dir / "postgres.log",
                identity=identity,
            )
            try:
                child.wait_until(lambda: accepts_connections(self._cluster), seconds=START_SECONDS)
            except BaseException as error:
                child.stop(signal.SIGINT, seconds=STOP_SECONDS)
                waiting = PREDECESSOR_WORDS in str(error) and time.monotonic() < deadline
                if not isinstance(error, EmbeddedError) or not waiting:
                    raise
                time.sleep(RETRY_SECONDS)
            else:
                return child

    def _command(self, install: Install, sockets: Path) -> list[str]:
        settings = SETTINGS | (DURABLE if self._durable else FAST) | {"unix_socket_directories": _listed(sockets)}
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [install.postgres, "-D", str(self._cluster), *words]


def _listed(directory: Path) -> str:
    """A path as an item of a list setting of Postgres: quoted, so that a comma or a space is part of it."""
    return '"' + str(directory).replace('"', '""') + '"'
