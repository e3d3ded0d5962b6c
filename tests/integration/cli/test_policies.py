"""What a key may ask for, from where it may be used, when it was, from the command line."""

import asyncio
from pathlib import Path

import pytest

from tests.support.commands import Done, command
from tests.support.stores import Stores

INHERITED = {
    "max_keep_alive_seconds": None, "max_num_ctx": None, "max_images": None, "max_embedding_inputs": None,
    "max_logprobs": None, "allow_raw": None, "allow_context": None,
}  # fmt: skip


@pytest.fixture
def prefix(env_file: Path) -> str:
    assert command("create-tenant", "--name", "acme", "--allow-all-models", env_file=env_file).status == 0
    words = ("create-key", "--tenant", "acme", "--name", "ci", "--quiet")
    return command(*words, env_file=env_file).out[:12]


def listed(env_file: Path) -> list[dict[str, object]]:
    keys: list[dict[str, object]] = command("list-keys", "--tenant", "acme", "--json", env_file=env_file).document[
        "keys"
    ]
    return keys


@pytest.mark.promise("N6")
def test_a_policy_is_set_changed_and_taken_away(env_file: Path, prefix: str, stores: Stores) -> None:
    def policy(*words: str) -> Done:
        return command("set-policy", "--key", prefix, *words, env_file=env_file)

    assert listed(env_file)[0]["policy"] is None
    done = policy("--keep-alive", "10m", "--num-ctx", "8_192", "--raw", "yes", "--images", "0", "--json").document
    held = INHERITED | {"max_keep_alive_seconds": 600, "max_num_ctx": 8192, "allow_raw": True, "max_images": 0}
    assert done == {"key": prefix, "policy": held}
    assert listed(env_file)[0]["policy"] == held
    words = policy("--context", "no", "--embedding-inputs", "5", "--logprobs", "3", "--keep-alive", "none").out
    assert words == (
        f"Policy of key {prefix}: no keep_alive, num_ctx up to 8,192, no images, texts to embed up to 5, logprobs up "
        "to 3, raw, no context; all else as the settings say.\n"
    )
    changed = policy("--raw", "inherit", "--num-ctx", "none", "--images", "INHERIT", "--json").document["policy"]
    assert (changed["allow_raw"], changed["max_num_ctx"], changed["max_images"]) == (None, 0, None)
    assert changed["max_logprobs"] == 3
    afresh = policy("--reset", "--keep-alive", "1h", "--json").document["policy"]
    assert afresh == INHERITED | {"max_keep_alive_seconds": 3600}
    assert policy("--reset").out == f"Policy of key {prefix}: as the settings say.\n"
    assert policy("--images", "inherit", "--json").document == {"key": prefix, "policy": None}
    [row] = asyncio.run(stores.fetch("select version from api_keys"))
    assert row["version"] >= 6


def test_networks_are_set_and_taken_away(env_file: Path, prefix: str) -> None:
    def networks(*words: str) -> Done:
        return command("set-networks", "--key", prefix, *words, env_file=env_file)

    assert listed(env_file)[0]["networks"] is None
    done = networks("--allow", "203.0.113.7, 10.0.0.0/8,::ffff:10.0.0.0/104 ,2001:DB8::/32", "--json").document
    stored = ["10.0.0.0/8", "203.0.113.7/32", "2001:db8::/32"]
    assert done == {"key": prefix, "networks": stored}
    assert listed(env_file)[0]["networks"] == stored
    assert networks("--allow", "192.0.2.1").out == f"Key {prefix} may be used from: 192.0.2.1/32.\n"
    assert networks("--allow", "").out == f"Key {prefix} may be used from: nowhere.\n"
    assert networks("--anywhere").out == f"Key {prefix} may be used from: anywhere.\n"
    assert networks("--anywhere", "--json").document == {"key": prefix, "networks": None}


@pytest.mark.usefixtures("prefix")
def test_a_key_is_made_for_some_networks(env_file: Path) -> None:
    words = ("create-key", "--tenant", "acme", "--name", "near", "--networks", "10.0.0.0/8,2001:db8::7")
    assert "from     10.0.0.0/8, 2001:db8::7/128\n" in command(*words, env_file=env_file).out
    made = command(*words, "--json", env_file=env_file).document
    assert (made["networks"], made["policy"], made["last_used_at"]) == (["10.0.0.0/8", "2001:db8::7/128"], None, None)
    assert listed(env_file)[0]["networks"] is None


def test_a_rotated_key_keeps_its_networks_and_its_policy(env_file: Path, prefix: str) -> None:
    """The new key had the policy of the old one, but what rotate-key printed of it said that it had none."""
    command("set-networks", "--key", prefix, "--allow", "10.0.0.0/8", env_file=env_file)
    command("set-policy", "--key", prefix, "--num-ctx", "4096", "--context", "no", env_file=env_file)
    new = command("rotate-key", "--prefix", prefix, "--json", env_file=env_file).document
    assert new["networks"] == ["10.0.0.0/8"]
    assert new["policy"] == INHERITED | {"max_num_ctx": 4096, "allow_context": False}
    assert listed(env_file)[0]["policy"] == new["policy"]
    command("set-policy", "--key", new["prefix"], "--reset", env_file=env_file)
    assert [key["policy"] is None for key in listed(env_file)] == [False, True]


def test_the_table_says_which_keys_have_rules_of_their_own(env_file: Path, prefix: str) -> None:
    """An operator saw of no key in the table that it was good from nowhere, or might ask for less than the others."""

    def rules() -> str:
        head, row = command("list-keys", "--tenant", "acme", env_file=env_file).out.splitlines()
        return row[head.index("OWN RULES") : head.index("EXPIRES")].strip()

    assert rules() == "-"
    command("set-networks", "--key", prefix, "--allow", "", env_file=env_file)
    assert rules() == "networks"
    command("set-policy", "--key", prefix, "--images", "0", env_file=env_file)
    assert rules() == "networks, policy"


@pytest.mark.usefixtures("prefix")
def test_the_last_use_is_listed(env_file: Path, stores: Stores) -> None:
    def table() -> list[str]:
        return command("list-keys", "--tenant", "acme", env_file=env_file).out.splitlines()

    head, row = table()
    assert head.split("  ")[-1].strip() == "LAST USED"
    assert row.rstrip().endswith("never")
    statement = "insert into key_uses select id, '2027-01-31 18:00:05.5+01', '192.0.2.1' from api_keys"
    asyncio.run(stores.execute(statement))
    assert table()[1].rstrip().endswith("2027-01-31 17:00 UTC")
    assert listed(env_file)[0]["last_used_at"] == "2027-01-31T17:00:05.500000Z"


@pytest.mark.parametrize(
    "words",
    [
        ("set-policy", "--key", "nz_000000000", "--raw", "no"),
        ("set-policy", "--key", "nz_000000000", "--reset"),
        ("set-networks", "--key", "nz_000000000", "--anywhere"),
    ],
)
def test_an_unknown_key_is_told(env_file: Path, words: tuple[str, ...]) -> None:
    assert "There is no key with the prefix nz_000000000" in command(*words, env_file=env_file).error
