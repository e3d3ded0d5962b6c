"""Everything at once, on a directory that it finds again."""

import asyncio
import signal
from pathlib import Path

import httpx
import pytest

from tests.support.commands import command, command_fork
from tests.support.fake_ollama import FakeOllama
from tests.support.forks import Zygote
from tests.support.no_tls import NO_TLS
from tests.support.programs import all_gone, children_of, program


@pytest.mark.promise("K1")
@pytest.mark.usefixtures("no_settings")
async def test_a_quickstart_serves_and_a_restart_finds_its_data(
    zygote: Zygote, ollama: FakeOllama, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    words = ("quickstart", "--data-dir", str(data), "--port", "0", "--json")
    async with program(*words, log=tmp_path / "first.log", OLLAMA_BASE_URL=ollama.base_url) as running:
        first = await running.document()
        assert first.keys() == {"base_url", "api_key", "tenant", "upstream", "env_file"}
        assert (first["tenant"], first["upstream"]) == ("demo", ollama.base_url)
        assert f"Found Ollama at {ollama.base_url}." in running.said
        assert {(data / name).stat().st_mode & 0o777 for name in ("gateway.env", "demo-key")} == {0o600}
        async with httpx.AsyncClient(base_url=first["base_url"], verify=NO_TLS, trust_env=False) as http:
            bearer = {"authorization": f"Bearer {first['api_key']}"}
            assert (await http.get("/readyz")).status_code == httpx.codes.OK
            assert (await http.get("/playground")).status_code == httpx.codes.OK
            assert (await http.get("/api/tags", headers=bearer)).status_code == httpx.codes.OK
        second = await command_fork(zygote, tmp_path, *words, "--upstream", "http://127.0.0.1:9")
        assert "another process already runs" in second.err.splitlines()[-1]
        assert second.status == 1
        children = children_of(running.process.pid)
        assert len(children) == 2
        assert await running.ended_by(signal.SIGINT) == 0
        assert all_gone(children, seconds=0)
        assert first["api_key"] not in running.said
    async with program(*words, "--upstream", "http://127.0.0.1:9", log=tmp_path / "again.log") as running:
        again = await running.document()
        assert (again["api_key"], again["tenant"]) == (first["api_key"], "demo")
        assert again["upstream"] == "http://127.0.0.1:9"
        assert "Nothing answers at http://127.0.0.1:9 yet" in running.said
        await _holds_one_key(Path(again["env_file"]))
        children = children_of(running.process.pid)
        running.process.kill()
        assert all_gone(children)


async def test_a_quickstart_that_is_stopped_while_it_starts_leaves_nothing(tmp_path: Path) -> None:
    words = ("quickstart", "--data-dir", str(tmp_path / "data"), "--port", "0", "--upstream", "http://127.0.0.1:9")
    async with program(*words, log=tmp_path / "log") as running:
        await running.has_said("Starting Postgres")
        assert await running.ended_by(signal.SIGTERM) == 0
        assert "Traceback" not in running.said
        assert await running.rest() == b""


async def test_an_upstream_that_is_no_address_is_told_in_one_line(zygote: Zygote, tmp_path: Path) -> None:
    words = ("quickstart", "--data-dir", str(tmp_path), "--port", "0", "--upstream", "ollama")
    done = await command_fork(zygote, tmp_path, *words)
    assert done.status == 1
    assert done.err.splitlines()[-1].startswith("error: --upstream takes auto, demo or an address")


async def _holds_one_key(env_file: Path) -> None:
    """Its env file serves every other command; read in a thread, since a command has a loop of its own."""
    keys = await asyncio.to_thread(command, "list-keys", "--tenant", "demo", "--json", env_file=env_file)
    assert len(keys.document["keys"]) == 1
