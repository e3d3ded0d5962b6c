"""Setting limits and models, asking for models, from the command line."""

import asyncio
from pathlib import Path

import pytest

from tests.support.commands import Done, command
from tests.support.fake_ollama import FakeOllama
from tests.support.gateways import make_settings, write_env_file
from tests.support.stores import Stores


@pytest.fixture
def prefix(env_file: Path) -> str:
    command("create-tenant", "--name", "acme", env_file=env_file)
    return command("create-key", "--tenant", "acme", "--name", "ci", "--quiet", env_file=env_file).out[:12]


def test_a_limit_that_is_not_named_stays(env_file: Path, prefix: str) -> None:
    words = ("set-limits", "--tenant", "acme")
    assert command(*words, "--rpm", "60", "--tpm", "9_000", "--json", env_file=env_file).document == {
        "tenant": "acme",
        "limits": {"rpm": 60, "tpm": 9000, "concurrent": None, "output_cap": None},
    }
    done = command(*words, "--tpm", "none", "--concurrent", "3", env_file=env_file)
    assert done.out == "Limits of tenant acme: 60 requests/min, 3 at once.\n"
    of_key = command("set-limits", "--key", prefix, "--rpm", "5", "--json", env_file=env_file).document
    assert (of_key["key"], of_key["limits"]["rpm"]) == (prefix, 5)
    assert "none of its own" in command("set-limits", "--key", prefix, "--rpm", "none", env_file=env_file).out


@pytest.mark.usefixtures("prefix")
def test_the_models_of_a_tenant_are_listed_or_all(env_file: Path) -> None:
    words = ("set-models", "--tenant", "acme")
    assert command(*words, "--models", "qwen3,Llama3.2:1b", env_file=env_file).out == (
        "Models of tenant acme: llama3.2:1b, qwen3:latest.\n"
    )
    assert command(*words, "--allow-all", env_file=env_file).out == "Models of tenant acme: all.\n"
    assert command(*words, "--no-allow-all", "--json", env_file=env_file).document == {
        "tenant": "acme",
        "allow_all_models": False,
        "models": ["llama3.2:1b", "qwen3:latest"],
    }
    assert command(*words, "--models", "", env_file=env_file).out == "Models of tenant acme: none.\n"


def test_the_models_of_a_key_are_its_own_or_its_tenants(env_file: Path, prefix: str) -> None:
    words = ("set-models", "--key", prefix)
    assert command(*words, "--no-allow-all", env_file=env_file).out == f"Models of key {prefix}: none.\n"
    assert command(*words, "--allow-all", env_file=env_file).out == f"Models of key {prefix}: as its tenant.\n"
    assert command(*words, "--models", "qwen3", "--json", env_file=env_file).document == {
        "key": prefix,
        "allow_all_models": False,
        "models": ["qwen3:latest"],
        "may_load_models": False,
    }
    assert command(*words, "--no-allow-all", env_file=env_file).out == f"Models of key {prefix}: qwen3:latest.\n"


def test_a_key_may_load_models_once_it_is_told_so_whatever_its_models(env_file: Path, prefix: str) -> None:
    words = ("set-models", "--key", prefix)
    command(*words, "--models", "qwen3", env_file=env_file)
    assert command(*words, "--may-load-models", env_file=env_file).out == (
        f"Models of key {prefix}: qwen3:latest; it may load and unload them.\n"
    )
    assert command(*words, "--allow-all", "--json", env_file=env_file).document == {
        "key": prefix,
        "allow_all_models": False,
        "models": None,
        "may_load_models": True,
    }
    assert command(*words, "--may-not-load-models", "--models", "llama3.2", env_file=env_file).out == (
        f"Models of key {prefix}: llama3.2:latest.\n"
    )
    assert command(*words, "--may-load-models", "--no-allow-all", env_file=env_file).out == (
        f"Models of key {prefix}: llama3.2:latest; it may load and unload them.\n"
    )


def test_loading_is_for_a_key_to_be_told(env_file: Path, prefix: str) -> None:
    refused = command("set-models", "--tenant", "acme", "--may-load-models", env_file=env_file)
    assert "--key PREFIX" in refused.error
    both = ("--models", "x", "--allow-all", "--may-load-models")
    assert "one of them" in command("set-models", "--key", prefix, *both, env_file=env_file).error
    [key] = command("list-keys", "--tenant", "acme", "--json", env_file=env_file).document["keys"]
    assert (key["models"], key["may_load_models"]) == (None, False)


@pytest.mark.usefixtures("no_settings")
async def test_the_installed_models_are_listed_with_who_may_use_them(
    ollama: FakeOllama, stores: Stores, tmp_path: Path
) -> None:
    env_file = write_env_file(tmp_path / "test.env", make_settings(stores, ollama.base_url))

    async def done(*words: str) -> Done:
        return await asyncio.to_thread(command, *words, env_file=env_file)

    listed = (await done("list-models", "--json")).document["models"]
    names = [model["name"] for model in listed]
    assert names
    assert all(model["installed"] and model["allowed"] is None for model in listed)
    assert names[0] in (await done("list-models")).out
    await done("create-tenant", "--name", "acme", "--models", f"{names[0]},not-here:1b")
    marked = (await done("list-models", "--tenant", "acme", "--json")).document["models"]
    assert {"name": names[0], "installed": True, "allowed": True} in marked
    assert {"name": "not-here:1b", "installed": False, "allowed": True} in marked
    assert sum(model["allowed"] for model in marked) == 2
    prefix = (await done("create-key", "--tenant", "acme", "--name", "x", "--models", "other", "--quiet")).out[:12]
    of_key = (await done("list-models", "--key", prefix, "--json")).document["models"]
    assert not any(model["allowed"] for model in of_key)


def test_a_model_server_that_is_away_is_told_in_one_line(env_file: Path) -> None:
    assert "is Ollama running?" in command("list-models", env_file=env_file).error
