"""Making, listing, rotating, revoking keys from the command line."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.commands import command, command_process
from tests.support.stores import Stores

WHOLE_KEY = re.compile(r"nz_[0-9A-Za-z]{41}")


@pytest.fixture
def acme(env_file: Path) -> str:
    assert command("create-tenant", "--name", "acme", "--allow-all-models", env_file=env_file).status == 0
    return "acme"


def issued(env_file: Path, *words: str) -> str:
    """A whole key, new."""
    return command("create-key", "--tenant", "acme", "--name", "ci", "--quiet", *words, env_file=env_file).out.strip()


@pytest.mark.promise("A7")
def test_a_new_key_stands_alone_on_stdout_when_asked_quietly(env_file: Path, acme: str, stores: Stores) -> None:
    done = command_process("create-key", "--tenant", acme, "--name", "ci", "--quiet", env_file=env_file)
    assert (done.status, done.err) == (0, "")
    assert WHOLE_KEY.fullmatch(done.out.removesuffix("\n"))
    rows = asyncio.run(stores.fetch("SELECT api_keys::text AS row FROM api_keys"))
    assert done.out[:12] in rows[0]["row"]
    assert done.out[12:].strip() not in rows[0]["row"]


def test_a_new_key_is_shown_once_with_what_it_may_do(env_file: Path, acme: str) -> None:
    words = ("--rpm", "60", "--concurrent", "2", "--models", "qwen3", "--expires", "30d")
    done = command("create-key", "--tenant", acme, "--name", "my ci", *words, env_file=env_file)
    assert len(WHOLE_KEY.findall(done.out)) == 1
    assert "60 requests/min, 2 at once" in done.out
    assert "qwen3:latest" in done.out
    assert done.err == "The key is shown this once: keep it now, it cannot be shown again.\n"


def test_a_new_key_as_a_document(env_file: Path, acme: str) -> None:
    words = ("create-key", "--tenant", acme, "--name", "ci", "--tpm", "none", "--expires", "30d", "--json")
    key = command(*words, env_file=env_file).document
    assert key.keys() == {
        "id", "tenant_id", "name", "prefix", "status", "models", "may_load_models", "prompt_log_seconds", "limits",
        "networks", "policy", "expires_at", "revoked_at", "last_used_at", "created_at", "key",
    }  # fmt: skip
    assert WHOLE_KEY.fullmatch(key["key"])
    assert (key["prefix"], key["status"], key["models"]) == (key["key"][:12], "active", None)
    ahead = datetime.fromisoformat(key["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=29, hours=23) < ahead <= timedelta(days=30)


def test_a_key_that_may_load_models_says_so_wherever_it_is_shown(env_file: Path, acme: str) -> None:
    issued(env_file)
    words = ("create-key", "--tenant", acme, "--name", "warmer", "--may-load-models")
    assert "models   as its tenant; may load and unload\n" in command(*words, env_file=env_file).out
    prefix = issued(env_file, "--may-load-models", "--models", "qwen3")[:12]
    command("rotate-key", "--prefix", prefix, "--quiet", env_file=env_file)
    table = command("list-keys", "--tenant", acme, env_file=env_file).out
    assert "qwen3:latest; may load and unload" in table
    keys = command("list-keys", "--tenant", acme, "--json", env_file=env_file).document["keys"]
    assert [key["may_load_models"] for key in keys] == [False, True, True, True]


@pytest.mark.promise("A7")
def test_listed_keys_show_no_secret(env_file: Path, acme: str) -> None:
    assert "has no key yet" in command("list-keys", "--tenant", acme, env_file=env_file).err
    secret = issued(env_file)
    table = command("list-keys", "--tenant", acme, env_file=env_file)
    listed = command("list-keys", "--tenant", acme, "--json", env_file=env_file)
    assert secret[:12] in table.out
    assert [key["prefix"] for key in listed.document["keys"]] == [secret[:12]]
    assert secret[12:] not in table.out + listed.out
    assert "key" not in listed.document["keys"][0]


def test_a_revoked_key_is_dead_with_who_and_why_written_down(env_file: Path, acme: str, stores: Stores) -> None:
    prefix = issued(env_file)[:12]
    done = command("revoke-key", "--prefix", prefix, "--reason", "lost", env_file=env_file)
    assert f"Key {prefix} (ci) is revoked" in done.out
    again = command("revoke-key", "--prefix", prefix, "--json", env_file=env_file).document
    assert again["prefix"] == prefix
    assert again["revoked_at"]
    keys = command("list-keys", "--tenant", acme, "--json", env_file=env_file).document["keys"]
    assert [key["status"] for key in keys] == ["revoked"]
    acts = asyncio.run(stores.fetch("SELECT action, reason FROM revocations"))
    assert [(act["action"], act["reason"]) for act in acts] == [("revoked", "lost")]


def test_a_rotated_key_hands_over_within_the_overlap(env_file: Path, acme: str) -> None:
    old = issued(env_file, "--rpm", "7")
    done = command("rotate-key", "--prefix", old[:12], "--overlap", "1h", env_file=env_file)
    assert f"replaces  {old[:12]}, which works until " in done.out
    new = command("rotate-key", "--prefix", WHOLE_KEY.findall(done.out)[0][:12], "--json", env_file=env_file).document
    assert WHOLE_KEY.fullmatch(new["key"])
    assert (new["name"], new["limits"]["rpm"]) == ("ci", 7)
    quiet = command("rotate-key", "--prefix", new["prefix"], "--overlap", "0s", "--quiet", env_file=env_file)
    assert WHOLE_KEY.fullmatch(quiet.out.strip())
    keys = command("list-keys", "--tenant", acme, "--json", env_file=env_file).document["keys"]
    assert [key["status"] for key in keys] == ["active", "active", "expired", "active"]
    assert "revoked or expired" in command("rotate-key", "--prefix", new["prefix"], env_file=env_file).error


def test_an_unknown_prefix_is_told_by_every_command(env_file: Path) -> None:
    for words in (
        ("revoke-key", "--prefix", "nz_000000000"),
        ("rotate-key", "--prefix", "nz_000000000"),
        ("set-budget", "--key", "nz_000000000", "--daily", "1"),
        ("set-limits", "--key", "nz_000000000", "--rpm", "1"),
        ("set-models", "--key", "nz_000000000", "--allow-all"),
        ("show-usage", "--key", "nz_000000000"),
    ):
        assert "nz_000000000" in command(*words, env_file=env_file).error
