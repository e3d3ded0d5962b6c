"""In production no secret is weak, known to everybody, or lies where everybody can read it (K1)."""

import os
from pathlib import Path

import pytest

from neuronetz_gateway.secret_rules import password_weakness_of
from neuronetz_gateway.settings import load_settings
from neuronetz_gateway.settings_error import SettingsError
from tests.unit.test_settings import GOOD, PEPPER, keep, write

SIGNING = "a1b2c3d4e5f60718293a4b5c6d7e8f90"
PASSWORD = "3f1c0d9e7b5a4c2e8f6d"
AWAY = f"postgresql+asyncpg://gateway:{PASSWORD}@db.internal/gateway"

pytestmark = [pytest.mark.usefixtures("no_settings"), pytest.mark.promise("K1")]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"KEY_PEPPER_PREVIOUS": "q7"}, "KEY_PEPPER_PREVIOUS has under 32 characters"),
        ({"KEY_PEPPER_PREVIOUS": "q7" * 20}, "KEY_PEPPER_PREVIOUS looks like a placeholder"),
        ({"AUDIT_SIGNING_KEY": "q7"}, "AUDIT_SIGNING_KEY has under 32 characters"),
        ({"AUDIT_SIGNING_KEY": "q7" * 20}, "AUDIT_SIGNING_KEY looks like a placeholder"),
        ({"PROMPT_LOG_KEY": "q7"}, "PROMPT_LOG_KEY has under 32 characters"),
        ({"PROMPT_LOG_KEY": "q7-changeme-0123456789-abcdefghijklm"}, "PROMPT_LOG_KEY looks like a placeholder"),
        ({"PROMPT_LOG_KEY_PREVIOUS": "q7" * 20}, "PROMPT_LOG_KEY_PREVIOUS looks like a placeholder"),
        ({"DATABASE_URL": "postgresql+asyncpg://gateway:PASSWORD@127.0.0.1/g"}, "DATABASE_URL has a password that"),
        ({"DATABASE_URL": "postgresql+asyncpg://q7q7q7:q7q7q7@127.0.0.1/g"}, "DATABASE_URL has a password that"),
        ({"DATABASE_URL": "postgresql+asyncpg://g@/g?host=/run&password=postgres"}, "DATABASE_URL has a password that"),
        ({"DATABASE_URL": "postgresql+asyncpg://gateway@db.internal/g"}, "DATABASE_URL leads over a network without"),
        ({"DATABASE_URL": "postgresql+asyncpg://g@/g?host=db.internal"}, "DATABASE_URL leads over a network without"),
        ({"DATABASE_URL": "postgresql+asyncpg://g:q7q7q8@10.0.0.5/g"}, "DATABASE_URL leads over a network by a pass"),
        ({"REDIS_URL": "redis://redis:6379/0"}, "REDIS_URL leads over a network without a password"),
        ({"REDIS_URL": "redis://:@redis:6379/0"}, "REDIS_URL leads over a network without a password"),
        ({"REDIS_URL": "rediss://:q7q7q8@redis"}, "REDIS_URL leads over a network by a password of under 15"),
        ({"REDIS_URL": "redis://:changeme@localhost"}, "REDIS_URL has a password that everybody knows"),
        ({"REDIS_URL": "redis://:[q7q7q8]@localhost"}, "REDIS_URL names a port that is no number"),
        ({"OLLAMA_BASE_URL": "http://:q7q7q8@localhost"}, "OLLAMA_BASE_URL must be a plain"),
        ({"OLLAMA_BASE_URL": "http://u:[q7q7q8]@localhost"}, "OLLAMA_BASE_URL must be a plain"),
    ],
)  # fmt: skip
def test_a_weak_secret_is_refused_by_its_name_alone(tmp_path: Path, changes: dict[str, str], said: str) -> None:
    """Only the pepper was looked at. A bracket in a password had a piece of it repeated by the parser of addresses."""
    with pytest.raises(SettingsError) as refused:
        load_settings(write(tmp_path / "gateway.env", **(GOOD | changes)))
    message = str(refused.value)
    assert said in message
    assert "\n" not in message
    assert "q7" not in message
    assert PEPPER not in message


@pytest.mark.parametrize(
    "changes",
    [
        {"AUDIT_SIGNING_KEY": SIGNING, "PROMPT_LOG_KEY": SIGNING[::-1], "KEY_PEPPER_PREVIOUS": PEPPER[::-1]},
        {"DATABASE_URL": AWAY, "REDIS_URL": f"rediss://:{PASSWORD}@redis.internal"},
        {"DATABASE_URL": "postgresql+asyncpg://gateway@db.internal/g?passfile=/run/secrets/pgpass"},
        {"DATABASE_URL": "postgresql+asyncpg://gateway@db.internal/g?sslcert=/c&sslkey=/k&sslmode=verify-full"},
        {"DATABASE_URL": "postgresql+asyncpg://g@/g?host=/var/run/postgresql", "REDIS_URL": "unix:///run/redis.sock"},
        {"DATABASE_URL": "postgresql+asyncpg://g@[::1]/g", "REDIS_URL": "redis://127.0.0.1:6379/0"},
    ],
)
def test_what_is_strong_or_stays_on_this_machine_is_taken(tmp_path: Path, changes: dict[str, str]) -> None:
    load_settings(write(tmp_path / "gateway.env", **(GOOD | changes)))


def test_a_password_may_be_where_libpq_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    load_settings(write(tmp_path / "gateway.env", **(GOOD | {"DATABASE_URL": "postgresql+asyncpg://g@db/g"})))


PG = "postgresql+asyncpg://"
OVER = "leads over a network"


@pytest.mark.parametrize(
    ("url", "environment", "said"),
    [
        # the host: of the address, else of its query, else of PGHOST
        (PG + "g@db.internal/g?host=/run/postgresql", {}, f"{OVER} without"),
        (PG + "g@db.internal/g?host=127.0.0.1", {}, f"{OVER} without"),
        (PG + "g@127.0.0.1/g?host=db.internal", {"PGHOST": "db.internal"}, None),
        (PG + "g@%2Frun%2Fpostgresql/g", {}, None),
        (PG + "g@localhost,127.0.0.1/g", {}, None),
        (PG + "g@localhost,db.internal/g", {}, f"{OVER} without"),
        (PG + "g@/g?host=/run/postgresql", {"PGHOST": "db.internal"}, None),
        (PG + "g@/g", {"PGHOST": "db.internal"}, f"{OVER} without"),
        (PG + "g@/g", {"PGHOST": "/run/postgresql,db.internal"}, f"{OVER} without"),
        (PG + "g@/g", {"PGHOST": "/run/postgresql"}, None),
        (PG + "g@/g", {}, None),
        ("redis://redis.internal/0?host=127.0.0.1", {}, f"{OVER} without"),
        ("redis://127.0.0.1/0?host=redis.internal", {}, None),
        ("redis:///0?host=redis.internal", {}, f"{OVER} without"),
        ("redis:///0", {"PGHOST": "db.internal"}, None),
        # the password: of the address, else of its query, the last one for Postgres, else of PGPASSWORD
        (PG + "g@db.internal/g", {"PGPASSWORD": PASSWORD}, None),
        (PG + "g@db.internal/g", {"PGPASSWORD": "q7q7q8"}, f"{OVER} by a password of under 15"),
        (PG + "g@127.0.0.1/g", {"PGPASSWORD": "postgres"}, "has a password that everybody knows"),
        (PG + "q7q7@127.0.0.1/g", {"PGPASSWORD": "q7q7"}, "has a password that everybody knows"),
        (PG + f"g:{PASSWORD}@db.internal/g", {"PGPASSWORD": "q7q7q8"}, None),
        (PG + f"g@db.internal/g?password={PASSWORD}", {"PGPASSWORD": "q7q7q8"}, None),
        (PG + f"g@db.internal/g?password={PASSWORD}&password=q7q7q8", {}, f"{OVER} by a password of under 15"),
        (f"redis://redis.internal?password=q7q7q8&password={PASSWORD}", {}, f"{OVER} by a password of under 15"),
        ("redis://redis.internal", {"PGPASSWORD": PASSWORD}, f"{OVER} without"),
        # what a person puts there until it is put right
        (PG + "g:change-me-in-production-q7@db.internal/g", {}, f"{OVER} by a password that looks like a placeholder"),
        (PG + "g@db.internal/g", {"PGPASSWORD": "Q7-Example-0123456789"}, f"{OVER} by a password that looks like a pl"),
        ("rediss://:q7q7q7q7q7q7q7q7q7q7@redis.internal", {}, f"{OVER} by a password that looks like a placeholder"),
        ("redis://:q7q7q7q7q7q7q7q7q7q7@127.0.0.1", {}, None),
    ],
)
def test_host_and_password_are_judged_as_the_driver_takes_them(
    url: str, environment: dict[str, str], said: str | None
) -> None:
    """A `host` in the query passed for where asyncpg, redis-py connect to, though both take the one before the path
    first; PGHOST was read by the driver alone; any PGPASSWORD would do, as would fifteen letters x."""
    weakness = password_weakness_of(url, environment)
    assert weakness is None if said is None else (weakness or "").startswith(said)
    assert "q7" not in (weakness or "").lower()


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o666, 0o602, 0o777])
def test_an_env_file_with_a_secret_that_everybody_may_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    env_file = write(tmp_path / "gateway.env", **GOOD)
    env_file.chmod(mode)
    with pytest.raises(SettingsError) as refused:
        load_settings(env_file)
    assert str(refused.value) == (
        f"KEY_PEPPER lies in {env_file}, which everybody on this machine may read or write; run: chmod o-rwx {env_file}"
    )


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640, 0o440, 0o660])
def test_the_group_may_read_since_that_is_how_secrets_reach_a_process_that_is_not_root(
    tmp_path: Path, mode: int
) -> None:
    env_file = write(tmp_path / "gateway.env", **GOOD)
    env_file.chmod(mode)
    load_settings(env_file)


@pytest.mark.parametrize("name", ["KEY_PEPPER", "AUDIT_SIGNING_KEY", "PROMPT_LOG_KEY", "DATABASE_URL", "REDIS_URL"])
@pytest.mark.parametrize("named_in", ["environment", "env file"])
def test_a_secret_file_that_everybody_may_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, named_in: str
) -> None:
    secret = keep(tmp_path / "secret", GOOD.get(name, SIGNING))
    values = {each: value for each, value in GOOD.items() if each != name}
    if named_in == "environment":
        monkeypatch.setenv(f"{name}_FILE", str(secret))
    else:
        values[f"{name}_FILE"] = str(secret)
    env_file = write(tmp_path / "gateway.env", **values)
    load_settings(env_file)
    secret.chmod(0o644)
    with pytest.raises(SettingsError, match=f"^{name} lies in {secret}, which everybody"):
        load_settings(env_file)


def test_a_link_to_a_secret_counts_by_what_it_leads_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As orchestrators mount secrets: a link with all rights to a file with few."""
    secret = keep(tmp_path / "secret", PEPPER)
    (tmp_path / "link").symlink_to(secret)
    monkeypatch.setenv("KEY_PEPPER_FILE", str(tmp_path / "link"))
    values = {name: value for name, value in GOOD.items() if name != "KEY_PEPPER"}
    load_settings(write(tmp_path / "gateway.env", **values))
    secret.chmod(0o604)
    with pytest.raises(SettingsError, match="KEY_PEPPER lies in"):
        load_settings(tmp_path / "gateway.env")


def test_the_env_file_that_is_found_without_being_named_is_looked_at_too(tmp_path: Path) -> None:
    write(tmp_path / ".env", **GOOD).chmod(0o644)
    assert Path.cwd() == tmp_path
    with pytest.raises(SettingsError, match=r"KEY_PEPPER lies in \.env, which everybody"):
        load_settings()


def test_an_env_file_without_a_secret_may_be_read_by_everybody(tmp_path: Path) -> None:
    values = {**GOOD, "KEY_PEPPER": "", "KEY_PEPPER_FILE": str(keep(tmp_path / "pepper", PEPPER))}
    env_file = write(tmp_path / "gateway.env", **values)
    env_file.chmod(0o644)
    load_settings(env_file)
    write(env_file, **(values | {"DATABASE_URL": AWAY})).chmod(0o644)
    with pytest.raises(SettingsError, match="DATABASE_URL lies in"):
        load_settings(env_file)


def test_a_machine_for_development_is_not_held_to_it(tmp_path: Path) -> None:
    values = GOOD | {"ENVIRONMENT": "development", "REDIS_URL": "redis://redis", "KEY_PEPPER": "change-me-" * 4}
    env_file = write(tmp_path / "gateway.env", **values)
    env_file.chmod(0o644)
    load_settings(env_file)


def test_the_example_as_it_is_does_not_start(tmp_path: Path) -> None:
    example = Path(__file__).resolve().parents[2] / ".env.example"
    env_file = keep(tmp_path / ".env", example.read_text())
    with pytest.raises(SettingsError, match="KEY_PEPPER is not set"):
        load_settings(env_file)
    env_file.write_text(example.read_text().replace("\nKEY_PEPPER=\n", f"\nKEY_PEPPER={os.urandom(32).hex()}\n"))
    with pytest.raises(SettingsError, match="DATABASE_URL has a password that everybody knows"):
        load_settings(env_file)
