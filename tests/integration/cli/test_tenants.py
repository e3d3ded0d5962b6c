"""Making, listing, suspending tenants from the command line."""

import asyncio
from pathlib import Path

import pytest

from tests.support.commands import command, command_fork
from tests.support.forks import Zygote
from tests.support.stores import Stores


async def test_a_new_tenant_is_told_what_it_has_while_hints_stay_off_stdout(
    zygote: Zygote, env_file: Path, tmp_path: Path
) -> None:
    done = await command_fork(zygote, tmp_path, "create-tenant", "--name", "acme", env_file=env_file)
    assert done.status == 0
    assert "models     none" in done.out
    assert "limits     none: unlimited" in done.out
    assert "budget     none: unlimited tokens" in done.out
    assert "neuronetz-gateway" not in done.out
    assert f"neuronetz-gateway set-models --tenant acme --allow-all --env-file {env_file}" in done.err
    assert f"neuronetz-gateway create-key --tenant acme --name first --env-file {env_file}" in done.err


def test_a_new_tenant_as_a_document(env_file: Path) -> None:
    words = (
        "create-tenant",
        "--name",
        "acme",
        "--models",
        "Qwen3,llama3.2:1b",
        "--time-zone",
        "Europe/Berlin",
        "--json",
    )
    tenant = command(*words, env_file=env_file).document
    assert tenant.keys() == {
        "id", "name", "status", "time_zone", "allow_all_models", "models", "limits", "created_at",
    }  # fmt: skip
    assert (tenant["name"], tenant["status"], tenant["time_zone"]) == ("acme", "active", "Europe/Berlin")
    assert (tenant["allow_all_models"], tenant["models"]) == (False, ["llama3.2:1b", "qwen3:latest"])
    assert tenant["limits"] == {"rpm": None, "tpm": None, "concurrent": None, "output_cap": None}


def test_tenants_are_listed(env_file: Path) -> None:
    assert "There is no tenant yet" in command("list-tenants", env_file=env_file).err
    command("create-tenant", "--name", "beta", "--allow-all-models", env_file=env_file)
    command("create-tenant", "--name", "acme", env_file=env_file)
    table = command("list-tenants", env_file=env_file).out
    assert [line.split()[:3] for line in table.splitlines()[1:]] == [
        ["acme", "active", "none"],
        ["beta", "active", "all"],
    ]
    tenants = command("list-tenants", "--json", env_file=env_file).document["tenants"]
    assert [tenant["name"] for tenant in tenants] == ["acme", "beta"]


def test_suspending_and_resuming_are_written_down_with_who_and_why(env_file: Path, stores: Stores) -> None:
    command("create-tenant", "--name", "acme", env_file=env_file)
    suspended = command("suspend-tenant", "--name", "acme", "--reason", "unpaid", "--json", env_file=env_file)
    assert suspended.document["status"] == "suspended"
    again = command("suspend-tenant", "--name", "acme", env_file=env_file)
    assert "Tenant acme is suspended" in again.out
    assert "Tenant acme is active" in command("suspend-tenant", "--name", "acme", "--resume", env_file=env_file).out
    acts = asyncio.run(stores.fetch("SELECT action, actor, reason FROM revocations ORDER BY at"))
    assert [(act["action"], act["reason"]) for act in acts] == [("suspended", "unpaid"), ("resumed", "")]
    assert all(act["actor"].startswith("cli:") for act in acts)


@pytest.mark.parametrize("name", ["", "Acme", "a b", "-acme", "ä", "a" * 65, "a/b", "acme\n"])
def test_a_name_that_cannot_be_is_refused_with_the_mend(name: str, env_file: Path) -> None:
    assert "1 to 64 characters of a-z" in command("create-tenant", "--name", name, env_file=env_file).error


@pytest.mark.parametrize("zone", ["", "Mars/Phobos", "../etc/passwd", "Europe", "europe berlin"])
def test_a_time_zone_that_is_none_is_refused(zone: str, env_file: Path) -> None:
    words = ("create-tenant", "--name", "acme", "--time-zone", zone)
    assert "IANA name such as UTC" in command(*words, env_file=env_file).error


def test_a_name_that_is_taken_is_refused(env_file: Path) -> None:
    command("create-tenant", "--name", "acme", env_file=env_file)
    assert "acme" in command("create-tenant", "--name", "acme", env_file=env_file).error


def test_an_unknown_tenant_is_told_by_every_command(env_file: Path) -> None:
    for words in (
        ("suspend-tenant", "--name", "nobody"),
        ("create-key", "--tenant", "nobody", "--name", "x"),
        ("list-keys", "--tenant", "nobody"),
        ("set-budget", "--tenant", "nobody", "--daily", "1"),
        ("set-limits", "--tenant", "nobody", "--rpm", "1"),
        ("set-models", "--tenant", "nobody", "--allow-all"),
        ("show-usage", "--tenant", "nobody"),
    ):
        assert "nobody" in command(*words, env_file=env_file).error


def test_a_database_that_is_away_is_told_in_one_line(zygote: Zygote, env_file: Path, tmp_path: Path) -> None:
    text = env_file.read_text().replace("DATABASE_URL=", "DATABASE_URL=postgresql+asyncpg://g@127.0.0.1:9/g #")
    env_file.write_text(text)
    assert "database" in asyncio.run(command_fork(zygote, tmp_path, "list-tenants", env_file=env_file)).error
    assert "is it running" in command("migrate", env_file=env_file).error
