"""The two files by which a quickstart finds itself again."""

import stat
from pathlib import Path

from dotenv import dotenv_values

from neuronetz_gateway.cli.quickstart_files import QuickstartFiles
from neuronetz_gateway.domain.api_key import PlainKey

KEY = PlainKey("nz_" + "A1b2C3d4E" + "s" * 32)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_pepper_is_made_once(tmp_path: Path) -> None:
    files = QuickstartFiles(tmp_path)
    pepper, made_now = files.pepper()
    assert (len(pepper), made_now) == (64, True)
    files.write_settings({"KEY_PEPPER": pepper})
    assert QuickstartFiles(tmp_path).pepper() == (pepper, False)


def test_both_files_are_readable_by_us_alone(tmp_path: Path) -> None:
    files = QuickstartFiles(tmp_path)
    files.write_settings({"PORT": "1"})
    files.keep_key(KEY)
    assert [mode(path) for path in tmp_path.iterdir()] == [0o600, 0o600]


def test_values_are_read_back_as_written_by_us_as_by_dotenv(tmp_path: Path) -> None:
    values = {"DATABASE_URL": "postgresql+asyncpg://g@/g?host=/a%20b", "REDIS_URL": "unix:///it's a #1\\n", "EMPTY": ""}
    files = QuickstartFiles(tmp_path)
    files.write_settings(values)
    assert files.settings() == values
    assert dotenv_values(files.env_file) == values


def test_what_a_person_added_is_kept(tmp_path: Path) -> None:
    files = QuickstartFiles(tmp_path)
    files.write_settings({"PORT": "1"})
    with files.env_file.open("a") as file:
        file.write("# mine\nDEFAULT_RPM=7\n")
    files.write_settings({"PORT": "2"})
    files.write_settings({"PORT": "3"})
    assert files.env_file.read_text().splitlines()[1:] == ["PORT=3", "# mine", "DEFAULT_RPM=7"]


def test_the_demo_key_is_found_again_unless_it_is_lost_or_spoilt(tmp_path: Path) -> None:
    files = QuickstartFiles(tmp_path)
    assert files.key() is None
    files.keep_key(KEY)
    assert files.key() == KEY
    (tmp_path / "demo-key").write_text("nz_something else\n")
    assert files.key() is None
