"""`serve` and `migrate` as operators run them."""

import asyncio
import contextlib
import os
import signal
import socket
from pathlib import Path

import httpx
import pytest
import redis

from neuronetz_gateway.embedded.postgres import EmbeddedPostgres
from tests.support.commands import command, command_fork
from tests.support.fake_ollama import FakeOllama
from tests.support.fake_ollama_script import Fault, Script
from tests.support.forks import Zygote
from tests.support.gateways import make_settings, write_env_file
from tests.support.no_tls import NO_TLS
from tests.support.programs import all_gone, children_of, program
from tests.support.stores import Stores


def folder_modes(place: Path) -> list[int]:
    """The modes of the folders in which workers share their metrics."""
    return [folder.stat().st_mode & 0o777 for folder in place.glob("neuronetz-metrics-*")]


async def status_at(url: str) -> int:
    async with httpx.AsyncClient(verify=NO_TLS, trust_env=False) as http:
        return (await http.get(url)).status_code


def workers_of(pid: int) -> set[int]:
    """Its children that serve; Python's own tracker of resources is one as well."""
    found = set()
    for child in children_of(pid):
        with contextlib.suppress(FileNotFoundError):  # gone since
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.add(child)
    return found


def kept_metrics_of(folder: Path, pid: int) -> set[str]:
    return {file.name for file in folder.glob(f"neuronetz-metrics-*/*_{pid}.db")}


async def test_serve_tells_where_it_is_reached_then_ends_quietly(env_file: Path, tmp_path: Path) -> None:
    words = ("serve", "--port", "0", "--json", "--env-file", str(env_file))
    async with program(*words, log=tmp_path / "log") as serving:
        told = await serving.document()
        assert told.keys() == {"base_url", "workers"}
        assert await status_at(f"{told['base_url']}/healthz") == httpx.codes.OK
        assert await serving.ended_by(signal.SIGTERM) == 0
        assert await serving.rest() == b""
        assert "Traceback" not in serving.said


async def test_workers_share_one_port_and_one_private_folder_of_metrics_and_are_replaced(
    env_file: Path, tmp_path: Path
) -> None:
    words = ("serve", "--port", "0", "--workers", "2", "--json", "--env-file", str(env_file))
    async with program(*words, log=tmp_path / "log", TMPDIR=str(tmp_path)) as serving:
        told = await serving.document()
        assert told["workers"] == 2
        assert await status_at(f"{told['base_url']}/healthz") == httpx.codes.OK
        assert folder_modes(tmp_path) == [0o700]
        before = workers_of(serving.process.pid)
        assert len(before) == 2
        os.kill(min(before), signal.SIGKILL)
        async with asyncio.timeout(30):
            while len(workers_of(serving.process.pid) - before) < 1:
                await asyncio.sleep(0.05)
        assert await status_at(f"{told['base_url']}/healthz") == httpx.codes.OK
        # its gauges would be summed up with those of the living for ever
        kept = kept_metrics_of(tmp_path, min(before))
        assert f"counter_{min(before)}.db" in kept
        assert not [name for name in kept if name.startswith("gauge_live")]
        children = children_of(serving.process.pid)
        assert await serving.ended_by(signal.SIGTERM) == 0
        assert all_gone(children)
        assert folder_modes(tmp_path) == []
        assert "Traceback" not in serving.said


async def test_workers_whose_parent_was_killed_end_by_themselves(env_file: Path, tmp_path: Path) -> None:
    """After kill -9 of the parent its workers went on serving for ever: nobody's children, on a port thus taken."""
    words = ("serve", "--port", "0", "--workers", "2", "--json", "--env-file", str(env_file))
    async with program(*words, log=tmp_path / "log", TMPDIR=str(tmp_path)) as serving:
        await serving.document()
        children = children_of(serving.process.pid)
        await serving.ended_by(signal.SIGKILL)
        assert all_gone(children)
        assert "Traceback" not in serving.said


@pytest.mark.usefixtures("no_settings")
async def test_a_stream_that_outlives_the_drain_is_told_but_shown_no_traceback(
    stores: Stores, ollama: FakeOllama, tmp_path: Path
) -> None:
    """Ctrl-C during a stream was half a minute of silence, then an error of uvicorn's with forty lines of traceback."""
    settings = make_settings(stores, ollama.base_url, drain_timeout_s=1)
    env_file = write_env_file(tmp_path / "gateway.env", settings)
    await asyncio.to_thread(command, "create-tenant", "--name", "acme", "--allow-all-models", env_file=env_file)
    made = await asyncio.to_thread(
        command, "create-key", "--tenant", "acme", "--name", "a", "--json", env_file=env_file
    )
    bearer = {"authorization": f"Bearer {made.document['key']}"}
    ollama.next(Script(fault=Fault.HANG, fault_after_records=2))
    words = ("serve", "--port", "0", "--json", "--env-file", str(env_file))
    async with program(*words, log=tmp_path / "log") as serving:
        base_url = (await serving.document())["base_url"]
        async with httpx.AsyncClient(
            base_url=base_url, headers=bearer, verify=NO_TLS, trust_env=False, timeout=30
        ) as http:
            question = {"model": "fakea", "prompt": "x"}
            async with http.stream("POST", "/api/generate", json=question) as answer:
                records = answer.aiter_lines()
                await anext(records)
                ended = asyncio.create_task(serving.ended_by(signal.SIGINT))
                with pytest.raises(httpx.RemoteProtocolError):
                    _ = [record async for record in records]
                assert await ended == 0
    assert "Stopping: requests still running: 1; they have 1 s to end." in serving.said
    assert '"outcome":"cut"' in serving.said
    assert "Traceback" not in serving.said


async def test_serve_says_in_one_line_that_its_port_is_taken(zygote: Zygote, env_file: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = await command_fork(zygote, tmp_path, "serve", "--port", str(port), env_file=env_file)
    assert f"127.0.0.1:{port} cannot be listened on" in done.error
    assert f"--port {port + 1}" in done.error


async def test_serve_refuses_a_redis_that_may_evict(
    zygote: Zygote, env_file: Path, stores: Stores, tmp_path: Path
) -> None:
    with redis.Redis.from_url(stores.redis_url) as valkey:
        valkey.config_set("maxmemory-policy", "allkeys-lru")
        try:
            done = await command_fork(zygote, tmp_path, "serve", "--port", "0", env_file=env_file)
        finally:
            valkey.config_set("maxmemory-policy", "noeviction")
    assert "maxmemory-policy is allkeys-lru" in done.error


@pytest.mark.usefixtures("no_settings")
def test_migrate_brings_an_empty_database_to_the_newest_revision(
    postgres: EmbeddedPostgres, stores: Stores, tmp_path: Path
) -> None:
    name = f"empty_{os.getpid()}"
    superuser = Stores(postgres.url_of("postgres", role="postgres"), stores.redis_url)
    asyncio.run(superuser.execute(f"CREATE DATABASE {name} OWNER gateway"))
    empty = Stores(postgres.url_of(name), stores.redis_url)
    env_file = write_env_file(tmp_path / "empty.env", make_settings(empty, "http://127.0.0.1:9"))
    revision = command("migrate", "--json", env_file=env_file).document["revision"]
    assert command("migrate", env_file=env_file).out == f"The database is at revision {revision}.\n"
    assert command("list-tenants", "--json", env_file=env_file).document == {"tenants": []}
    (found,) = asyncio.run(empty.fetch("SELECT version_num FROM alembic_version"))
    assert found["version_num"] == revision
