"""Settings come from variables, files and secret files; contradictions are one clear line without a value."""

from pathlib import Path

import pytest

from neuronetz_gateway.settings import load_settings
from neuronetz_gateway.settings_error import SettingsError

PEPPER = "8f14e45fceea167a5a36dedd4bea2543"
GOOD = {
    "DATABASE_URL": "postgresql+asyncpg://gateway@localhost/gateway",
    "REDIS_URL": "redis://localhost",
    "KEY_PEPPER": PEPPER,
}

pytestmark = pytest.mark.usefixtures("no_settings")


def write(path: Path, **values: str) -> Path:
    path.write_text("\n".join(f"{name}={value}" for name, value in values.items()))
    path.chmod(0o600)
    return path


def keep(path: Path, secret: str) -> Path:
    """A file for one secret, as it should be."""
    path.write_text(secret)
    path.chmod(0o600)
    return path


def test_an_env_file_is_enough(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path / "gateway.env", **GOOD, DEFAULT_RPM="none", TRUSTED_PROXIES="10.0.0.0/8"))
    assert settings.default_rpm is None
    assert [str(network) for network in settings.proxy_networks] == ["10.0.0.0/8"]


def test_a_variable_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "9999")
    assert load_settings(write(tmp_path / "gateway.env", **GOOD, PORT="1111")).port == 9999


def test_a_secret_may_come_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(tmp_path / "pepper", PEPPER + "\n")
    monkeypatch.setenv("KEY_PEPPER_FILE", str(tmp_path / "pepper"))
    values = {name: value for name, value in GOOD.items() if name != "KEY_PEPPER"}
    assert load_settings(write(tmp_path / "gateway.env", **values)).key_pepper.get_secret_value() == PEPPER


def test_a_variable_and_its_file_at_once_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(tmp_path / "pepper", PEPPER)
    monkeypatch.setenv("KEY_PEPPER_FILE", str(tmp_path / "pepper"))
    monkeypatch.setenv("KEY_PEPPER", PEPPER)
    with pytest.raises(SettingsError, match="KEY_PEPPER and KEY_PEPPER_FILE are both set"):
        load_settings()


def test_a_secret_file_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY_PEPPER_FILE", str(tmp_path / "nowhere"))
    with pytest.raises(SettingsError, match="nowhere"):
        load_settings(write(tmp_path / "gateway.env", **GOOD))


def test_an_env_file_may_name_a_secret_file(tmp_path: Path) -> None:
    """KEY_PEPPER_FILE was heeded in the environment alone; in an env file it was passed over in silence."""
    keep(tmp_path / "pepper", PEPPER + "\n")
    values = GOOD | {"KEY_PEPPER": "", "KEY_PEPPER_FILE": str(tmp_path / "pepper")}
    assert load_settings(write(tmp_path / "gateway.env", **values)).key_pepper.get_secret_value() == PEPPER
    with pytest.raises(SettingsError, match="KEY_PEPPER and KEY_PEPPER_FILE are both set"):
        load_settings(write(tmp_path / "gateway.env", **(values | {"KEY_PEPPER": PEPPER})))


def test_the_environment_wins_over_a_secret_file_that_the_env_file_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY_PEPPER", PEPPER)
    values = GOOD | {"KEY_PEPPER": "", "KEY_PEPPER_FILE": str(tmp_path / "nowhere")}
    with pytest.raises(SettingsError, match="nowhere"):  # named, so read, whoever wins
        load_settings(write(tmp_path / "gateway.env", **values))
    keep(tmp_path / "nowhere", PEPPER[::-1])
    assert load_settings(tmp_path / "gateway.env").key_pepper.get_secret_value() == PEPPER


def test_files_that_are_no_text_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe=1\n")
    with pytest.raises(SettingsError, match=r"The env file .*binary is no text"):
        load_settings(tmp_path / "binary")
    monkeypatch.setenv("KEY_PEPPER_FILE", str(tmp_path / "binary"))
    with pytest.raises(SettingsError, match=r"The secret file .*binary is no text; .* openssl rand -hex 32"):
        load_settings(write(tmp_path / "gateway.env", **GOOD))


def test_an_env_file_that_is_a_folder_is_told_apart_from_one_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="is no file"):
        load_settings(tmp_path)
    with pytest.raises(SettingsError, match="does not exist"):
        load_settings(tmp_path / "nowhere")


@pytest.mark.promise("K1")
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"KEY_PEPPER": ""}, "KEY_PEPPER is not set"),
        ({"KEY_PEPPER": "tooshort"}, "KEY_PEPPER has under 32 characters"),
        ({"KEY_PEPPER": "change-me-change-me-change-me-change-me"}, "KEY_PEPPER looks like a placeholder"),
        ({"KEY_PEPPER": "a" * 40}, "KEY_PEPPER looks like a placeholder"),
        ({"KEY_PEPPER_PREVIOUS": PEPPER}, "are the same"),
        ({"DATABASE_URL": ""}, "DATABASE_URL is not set"),
        ({"DATABASE_URL": "mysql://x:hunter2@y/z"}, "DATABASE_URL must begin with"),
        ({"DATABASE_URL": "", "REDIS_URL": ""}, "DATABASE_URL and REDIS_URL are not set"),
        (
            {"DATABASE_URL": "postgresql+asyncpg://x:hunter2@y:fivefour/z"},
            "DATABASE_URL names a port that is no number",
        ),
        ({"REDIS_URL": "http://x"}, "REDIS_URL must begin with"),
        ({"REDIS_URL": "redis://localhost:0"}, "REDIS_URL names a port that is no number"),
        ({"OLLAMA_BASE_URL": "http://localhost:99999"}, "OLLAMA_BASE_URL names a port that is no number"),
        ({"OLLAMA_BASE_URL": "localhost:11434"}, "OLLAMA_BASE_URL must be"),
        ({"HEARTBEAT_S": "20"}, "LEASE_S must be at least three times HEARTBEAT_S"),
        ({"PORT": "seventy"}, "PORT"),
        ({"TRUSTED_PROXIES": "everybody"}, "TRUSTED_PROXIES"),
        ({"UPSTREAM_TOTAL_TIMEOUT_S": "5"}, "UPSTREAM_TOTAL_TIMEOUT_S is below"),
    ],
)
def test_contradictions_are_refused_with_one_line_that_shows_no_value(
    tmp_path: Path, changes: dict[str, str], said: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings(write(tmp_path / "gateway.env", **(GOOD | changes)))
    message = str(refused.value)
    assert said in message
    assert "\n" not in message
    assert "hunter2" not in message
    assert PEPPER not in message


def test_an_env_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nothing\.env does not exist"):
        load_settings(tmp_path / "nothing.env")


def test_no_secret_shows_in_a_repr(tmp_path: Path) -> None:
    assert PEPPER not in repr(load_settings(write(tmp_path / "gateway.env", **GOOD)))
