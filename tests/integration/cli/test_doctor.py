"""The command that says what is wrong, and what would mend it."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from socket import SO_REUSEADDR, SOL_SOCKET, create_server
from typing import Any

import pytest

from neuronetz_gateway.domain.checkup import CheckResult, Verdict
from neuronetz_gateway.services.checkup import examine
from neuronetz_gateway.services.checkup_clock import clock_result
from neuronetz_gateway.services.checkup_host import check_open_files, check_proxies
from neuronetz_gateway.settings import Settings
from neuronetz_gateway.upstream.exposure import answering, is_here, outward_addresses
from tests.support.commands import command
from tests.support.fake_ollama import FakeOllama
from tests.support.gateways import make_settings, write_env_file
from tests.support.stores import Stores

NOBODY_THERE = "http://127.0.0.1:9"
PASSWORD = "correct-horse-battery-staple"


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with closing(create_server(("127.0.0.1", 0))) as listener:
        listener.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        yield int(listener.getsockname()[1])


async def examined(settings: Settings, **more: Any) -> dict[str, CheckResult]:
    results = await examine(settings, None, now=lambda: datetime.now(UTC), **more)
    return {result.check: result for result in results}


async def test_where_all_is_as_it_should_be_every_check_says_so(stores: Stores, ollama: FakeOllama) -> None:
    found = await examined(make_settings(stores, ollama.base_url))
    told = {name: result.words for name, result in found.items() if result.verdict is not Verdict.OK}
    # The stores of the tests are quick rather than durable, nobody serves on them, and they are for development.
    assert told.keys() <= {"postgres durability", "gateway", "settings", "open files", "audit days"}
    assert found["postgres durability"].verdict is Verdict.FAILURE
    assert found["postgres durability"].mend == "set fsync = on"
    assert found["schema"].words.endswith("the newest")
    assert found["redis eviction"].verdict is found["redis role"].verdict is Verdict.OK
    assert found["ollama exposed"].words == "no: only this machine reaches it"
    assert found["ollama cloud"].words == "off"


@pytest.mark.usefixtures("no_settings")
def test_what_is_away_hides_nothing_else_and_shows_no_secret(stores: Stores, tmp_path: Path, silent: int) -> None:
    settings = make_settings(
        stores,
        NOBODY_THERE,
        database_url=f"postgresql+asyncpg://gateway:{PASSWORD}@127.0.0.1:{silent}/gateway",
        database_connect_timeout_s=0.2,
        trusted_proxies="0.0.0.0/0",
    )
    done = command("doctor", "--json", env_file=write_env_file(tmp_path / "test.env", settings))
    assert done.status == 1
    assert PASSWORD not in done.out + done.err

    document = json.loads(done.out)
    checks = {each["check"]: each for each in document["checks"]}
    failed = {name for name, each in checks.items() if each["verdict"] == "failure"}
    assert {"postgres", "ollama", "trusted proxies"} <= failed
    assert document["failures"] == len(failed)
    assert checks["redis"]["verdict"] == checks["redis eviction"]["verdict"] == "ok"
    assert "DATABASE_URL" in checks["postgres"]["mend"]


@pytest.mark.usefixtures("no_settings")
def test_settings_that_do_not_hold_are_one_line_among_the_others(stores: Stores, tmp_path: Path) -> None:
    env_file = write_env_file(tmp_path / "test.env", make_settings(stores, NOBODY_THERE))
    env_file.write_text(env_file.read_text().replace("ENVIRONMENT", "# ENVIRONMENT") + "\nKEY_PEPPER=short\n")
    env_file.chmod(0o644)
    page = command("doctor", env_file=env_file)
    assert page.status == 1
    assert "KEY_PEPPER" in page.out
    assert "secret files" in page.out
    assert "chmod o-rwx" in page.out
    assert "noeviction" in page.out  # so the stores were asked all the same
    assert "failures" in page.out.splitlines()[-1]


async def test_a_database_behind_or_ahead_of_this_version_is_told_with_the_mend(stores: Stores) -> None:
    for revision, words in (("0001", "behind: at 0001"), ("9999", "ahead: at 9999")):
        await stores.execute("update alembic_version set version_num = $1", revision)
        found = (await examined(make_settings(stores, NOBODY_THERE)))["schema"]
        assert found.verdict is Verdict.FAILURE
        assert found.words.startswith(words)
        assert found.mend


async def test_who_serves_is_counted_and_what_the_dead_have_left(stores: Stores) -> None:
    await stores.execute("insert into processes (id, host, pid) values (gen_random_uuid(), 'a', 1)")
    await stores.execute(
        "insert into processes (id, host, pid, heartbeat_at) values (gen_random_uuid(), 'b', 2, now() - interval '1 h')"
    )
    await stores.execute(
        "insert into reservations (id, process_id, tenant_id, api_key_id, day, month, reserved, prompt_bound, model,"
        " endpoint, request_id, address, user_agent, admitted_at)"
        " select gen_random_uuid(), id, id, id, now(), now(), 1, 1, 'm', '/', 'r', 'a', 'u', now() from processes"
    )
    found = await examined(make_settings(stores, NOBODY_THERE))
    assert found["gateway"].words == "1 process serves, on 1 machine"
    assert found["abandoned reservations"].verdict is Verdict.WARNING
    assert found["abandoned reservations"].words.startswith("1 of processes that are gone")


async def test_a_check_that_hangs_is_given_up_at_its_deadline(stores: Stores, silent: int) -> None:
    settings = make_settings(stores, f"http://127.0.0.1:{silent}")
    begun = asyncio.get_running_loop().time()
    found = await examined(settings, deadline_seconds=0.5)
    assert asyncio.get_running_loop().time() - begun < 5
    assert found["ollama"].words == "no answer within 0.5 s"
    assert found["redis"].verdict is Verdict.OK


async def test_a_model_server_that_others_reach_is_found(ollama: FakeOllama) -> None:
    assert await answering(ollama.base_url, ["127.0.0.1"], timeout_seconds=2) == ["127.0.0.1"]
    assert await answering(NOBODY_THERE, ["127.0.0.1"], timeout_seconds=2) == []
    assert is_here("http://[::1]:11434")
    assert not is_here("http://10.0.0.4:11434")
    assert not any(each.startswith("127.") for each in outward_addresses())


@pytest.mark.parametrize(("seconds", "verdict"), [(0.2, Verdict.OK), (-5, Verdict.WARNING), (40, Verdict.FAILURE)])
def test_a_clock_is_judged_by_how_far_it_is_off(seconds: float, verdict: Verdict) -> None:
    ours = datetime(2026, 6, 1, tzinfo=UTC)
    assert clock_result("clock", ours + timedelta(seconds=seconds), ours).verdict is verdict


def test_this_machine_is_judged_by_what_the_settings_want(stores: Stores) -> None:
    assert check_open_files(make_settings(stores, NOBODY_THERE, max_connections=1))[0].verdict is Verdict.OK
    assert check_proxies(make_settings(stores, NOBODY_THERE, trusted_proxies="10.0.0.7"))[0].words == "10.0.0.7/32"
    assert check_proxies(make_settings(stores, NOBODY_THERE))[0].verdict is Verdict.OK
