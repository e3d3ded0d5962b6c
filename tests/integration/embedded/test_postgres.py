"""The embedded Postgres keeps what it was given, whoever is killed."""

import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from neuronetz_gateway.embedded.child import EmbeddedError, Identity, NotInstalledError
from neuronetz_gateway.embedded.postgres import EmbeddedPostgres
from neuronetz_gateway.embedded.unprivileged import as_nobody
from tests.integration.embedded.conftest import Parent

PARENT = """
import pathlib, sys, time
from neuronetz_gateway.embedded.postgres import EmbeddedPostgres
postgres = EmbeddedPostgres(pathlib.Path(sys.argv[1]), durable=False)
postgres.start()
print(postgres.url, flush=True)
time.sleep(600)
"""


@contextmanager
def running(data_dir: Path, *, durable: bool = False, identity: Identity | None = None) -> Iterator[EmbeddedPostgres]:
    postgres = EmbeddedPostgres(data_dir, durable=durable, identity=identity)
    postgres.start()
    try:
        yield postgres
    finally:
        postgres.stop()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("template")
    with running(directory):
        pass
    return directory


@pytest.fixture
def data_dir(template: Path, tmp_path: Path) -> Path:
    """Data that are there already; a copy takes less time than making them."""
    return shutil.copytree(template, tmp_path / "data")


@pytest.fixture
def open_data_dir(template: Path) -> Iterator[Path]:
    """The same, not below tmp_path, whose parents an account like nobody may not enter."""
    directory = Path(tempfile.mkdtemp(prefix="neuronetz-test-"))
    shutil.copytree(template, directory, dirs_exist_ok=True)
    yield directory
    shutil.rmtree(directory)


def sockets_of(postgres: EmbeddedPostgres) -> Path:
    return Path(parse_qs(urlsplit(postgres.url).query)["host"][0])


async def fetched(url: str, *statements: str) -> str:
    """What the last statement gives, as text."""
    parts = urlsplit(url)
    host = parse_qs(parts.query)["host"][0]
    connection = await asyncpg.connect(host=host, user=parts.username, database=parts.path.lstrip("/"))
    try:
        for statement in statements[:-1]:
            await connection.execute(statement)
        return str(await connection.fetchval(statements[-1]))
    finally:
        await connection.close()


async def test_a_small_durable_server_that_only_its_owner_can_reach(tmp_path: Path) -> None:
    with running(tmp_path / "data", durable=True) as postgres:
        url = postgres.url
        expected = {
            "fsync": "on",
            "synchronous_commit": "on",
            "full_page_writes": "on",
            "listen_addresses": "",
            "server_encoding": "UTF8",
            "max_connections": "100",
            "jit": "off",
        }
        assert {name: await fetched(url, f"SHOW {name}") for name in expected} == expected
        assert await fetched(url, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") == "False"
        assert await fetched(url, "SELECT current_user || ' ' || current_database()") == "gateway gateway"


def test_its_files_are_private_and_stop_may_be_called_twice(data_dir: Path) -> None:
    with running(data_dir) as postgres:
        sockets = sockets_of(postgres)
        assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
        assert stat.S_IMODE((data_dir / "postgres.log").stat().st_mode) == 0o600
    assert not sockets.exists()
    postgres.stop()
    with pytest.raises(EmbeddedError, match="not been started"):
        assert postgres.url


async def test_rows_outlive_a_kill_of_everything(
    data_dir: Path, parent: Callable[..., Parent], gone: Callable[[int], bool], killed: list[int]
) -> None:
    first = parent(PARENT, data_dir)
    url = first.line()
    await fetched(url, "CREATE TABLE kept (note text)", "INSERT INTO kept VALUES ('still here') RETURNING note")
    killed.append(int((data_dir / "postgres" / "postmaster.pid").read_text().splitlines()[0]))
    # A session in the middle of something: it is the last to notice that its postmaster has gone.
    session = int(await fetched(url, "SELECT pg_backend_pid()"))
    first.kill()
    assert gone(killed[0])
    assert gone(session)
    assert (data_dir / "postgres" / "postmaster.pid").exists()
    with running(data_dir) as postgres:
        assert await fetched(postgres.url, "SELECT note FROM kept") == "still here"


async def test_a_restart_right_behind_a_kill_waits_for_the_dying(data_dir: Path, parent: Callable[..., Parent]) -> None:
    first = parent(PARENT, data_dir)
    await fetched(first.line(), "CREATE TABLE kept ()", "SELECT 1")
    first.kill()
    with running(data_dir) as postgres:
        assert await fetched(postgres.url, "SELECT count(*) FROM kept") == "0"


async def test_a_stale_process_id_that_lives_again_is_no_hindrance(data_dir: Path) -> None:
    """In a restarted container another program soon has the id that a killed Postgres left in postmaster.pid.

    Postgres then refuses to start, since some process of ours with that id is alive.
    """
    with running(data_dir):
        left = (data_dir / "postgres" / "postmaster.pid").read_text().splitlines()
    left[0] = str(os.getpid())
    (data_dir / "postgres" / "postmaster.pid").write_text("\n".join(left) + "\n")
    with running(data_dir) as postgres:
        assert await fetched(postgres.url, "SELECT 1") == "1"


def test_the_same_data_are_not_opened_twice(data_dir: Path) -> None:
    with running(data_dir):
        second = EmbeddedPostgres(data_dir, durable=False)
        with pytest.raises(EmbeddedError, match="another process already runs postgres"):
            second.start()


async def test_a_cluster_left_half_made_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "postgres.new").mkdir()
    (tmp_path / "postgres.new" / "PG_VERSION").write_text("18\n")
    with running(tmp_path) as postgres:
        assert await fetched(postgres.url, "SELECT 1") == "1"
    assert not (tmp_path / "postgres.new").exists()


def test_too_deep_a_directory_has_its_socket_elsewhere(template: Path, tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    shutil.copytree(template, deep)
    with running(deep) as postgres:
        sockets = sockets_of(postgres)
        assert not sockets.is_relative_to(deep)
        assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
        assert (sockets / ".s.PGSQL.5432").is_socket()
    assert not sockets.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
async def test_where_namespaces_are_forbidden_it_runs_as_nobody(open_data_dir: Path) -> None:
    nobody = as_nobody()
    with running(open_data_dir, identity=nobody) as postgres:
        await fetched(postgres.url, "CREATE TABLE kept ()", "SELECT 1")
    assert (open_data_dir / "postgres" / "base").stat().st_uid == nobody.uid
    # A machine may come to allow namespaces: the files change hands then.
    with running(open_data_dir) as postgres:
        assert await fetched(postgres.url, "SELECT count(*) FROM kept") == "0"


async def test_without_the_tools_of_linux_a_guard_ends_it(
    open_data_dir: Path, parent: Callable[..., Parent], gone: Callable[[int], bool], killed: list[int]
) -> None:
    """As on macOS: neither setpriv nor unshare is to be found, so root's Postgres is nobody's, under a guard."""
    first = parent("import os; os.environ['PATH'] = ''" + PARENT, open_data_dir)
    await fetched(first.line(), "CREATE TABLE kept ()", "SELECT 1")
    killed.append(int((open_data_dir / "postgres" / "postmaster.pid").read_text().splitlines()[0]))
    first.kill()
    assert gone(killed[0])
    with running(open_data_dir) as postgres:
        assert await fetched(postgres.url, "SELECT count(*) FROM kept") == "0"


def test_a_missing_program_is_told_with_the_extra_to_install(tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path / "data", bin_dir=tmp_path)
    with pytest.raises(NotInstalledError, match=r"neuronetz-gateway\[embedded\]"):
        postgres.start()


def test_a_server_that_cannot_start_says_why(data_dir: Path) -> None:
    with running(data_dir):
        pass
    (data_dir / "postgres" / "postgresql.conf").write_text("no_such_setting = on\n")
    with pytest.raises(EmbeddedError, match="no_such_setting"):
        EmbeddedPostgres(data_dir, durable=False).start()
