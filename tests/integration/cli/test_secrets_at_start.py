"""Whatever is wrong with a secret, no command starts, none repeats it."""

from pathlib import Path

import pytest

from neuronetz_gateway.cli.command_table import COMMANDS
from tests.support.commands import command, command_fork
from tests.support.forks import Zygote

SECRET = "Zq7Zq7Zq7pepperlike0123456789abcdefgh"
STRONG = "8f14e45fceea167a5a36dedd4bea2543"

pytestmark = [pytest.mark.usefixtures("no_settings"), pytest.mark.promise("K1")]

GOOD = {
    "DATABASE_URL": "postgresql+asyncpg://gateway@127.0.0.1:9/gateway",
    "REDIS_URL": "redis://127.0.0.1:9",
    "KEY_PEPPER": STRONG,
}


def written(path: Path, mode: int = 0o600, **changes: str) -> Path:
    path.write_text("".join(f"{name}={value}\n" for name, value in (GOOD | changes).items()))
    path.chmod(mode)
    return path


@pytest.mark.parametrize("words", [("serve",), ("list-tenants", "--json")], ids=" ".join)
async def test_a_program_with_a_weak_or_open_secret_ends_at_once(
    zygote: Zygote, tmp_path: Path, words: tuple[str, ...]
) -> None:
    for env_file, name in (
        (written(tmp_path / "weak.env", KEY_PEPPER="Zq7Zq7"), "KEY_PEPPER has under 32 characters"),
        (written(tmp_path / "open.env", 0o644), "KEY_PEPPER lies in"),
    ):
        error = (await command_fork(zygote, tmp_path, *words, env_file=env_file)).error
        assert name in error
        assert "Zq7" not in error
        assert STRONG not in error


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+asyncpg://gateway:Zq7Zq7Zq7Zq7Zq7Zq7@127.0.0.1:9/gateway",
        "postgresql+asyncpg://gateway:Zq7Zq7/Zq7Zq7Zq7Zq7@127.0.0.1:9/gateway",
        "postgresql+asyncpg://gateway:Zq7Zq7@Zq7Zq7Zq7Zq7@127.0.0.1:9/gateway",
        "postgresql+asyncpg://gateway:Zq7Zq7?Zq7Zq7Zq7Zq7@127.0.0.1:9/gateway",
        "postgresql+asyncpg://gateway:Zq7Zq7#Zq7Zq7Zq7Zq7@127.0.0.1:9/gateway",
        "postgresql+asyncpg://gateway:Zq7Zq7%Zq7Zq7Zq7@127.0.0.1:9/gateway",
        "postgresql+asyncpg://gateway:[Zq7Zq7Zq7Zq7Zq7Zq7]@127.0.0.1:9/gateway",
        "postgresql+asyncpg://gateway@127.0.0.1:9/gateway?password=Zq7Zq7Zq7Zq7Zq7Zq7",
        "postgresql+asyncpg://gateway@127.0.0.1:9/gateway?sslmode=Zq7Zq7",
        "postgres://gateway:Zq7Zq7Zq7Zq7Zq7Zq7@127.0.0.1:9/gateway",
    ],
)
def test_no_command_repeats_the_password_of_a_store_that_is_away_or_misspelt(tmp_path: Path, url: str) -> None:
    env_file = written(tmp_path / "gateway.env", DATABASE_URL=url)
    for words in (("migrate",), ("list-tenants",), ("audit", "verify")):
        assert "Zq7" not in command(*words, env_file=env_file).error


@pytest.mark.parametrize(
    "url",
    [
        "redis://:Zq7Zq7Zq7Zq7Zq7@127.0.0.1:9",
        "redis://:Zq7/Zq7Zq7Zq7Zq7@127.0.0.1:9",
        "redis://:[Zq7]Zq7Zq7Zq7Zq7@127.0.0.1:9/x",
        "redis://127.0.0.1:9?password=Zq7Zq7&nonsense=Zq7Zq7Zq7",
        "redis://127.0.0.1:9?socket_timeout=Zq7Zq7",
    ],
)
def test_no_command_repeats_what_the_address_of_redis_holds(tmp_path: Path, url: str) -> None:
    env_file = written(tmp_path / "gateway.env", REDIS_URL=url)
    assert "Zq7" not in command("list-tenants", env_file=env_file).error


def test_no_command_takes_a_secret_as_an_argument() -> None:
    """Arguments stand in the list of processes for everybody on the machine."""
    for each in COMMANDS:
        page = command(*each.name.split(), "--help").out.lower()
        for word in ("--pepper", "--password", "--secret", "--database-url", "--redis-url", "--signing-key"):
            assert word not in page, each.name
