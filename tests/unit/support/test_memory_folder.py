"""Folders in memory come and go, those of killed runs too."""

from pathlib import Path

from tests.support.memory_folder import has_memory_to_spare, memory_folder


def test_a_folder_is_gone_once_it_is_left(tmp_path: Path) -> None:
    with memory_folder(tmp_path) as folder:
        (folder / "file").touch()
        assert list(tmp_path.iterdir()) == [folder]
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_swept_while_others_stay(tmp_path: Path) -> None:
    with memory_folder(tmp_path) as folder:
        left = folder.with_name(folder.name + "x")
        left.mkdir()
        (left / "file").touch()
        with memory_folder(tmp_path) as other:
            assert {*tmp_path.iterdir()} == {folder, other}


def test_a_machine_without_such_memory_does_without(tmp_path: Path) -> None:
    assert not has_memory_to_spare(tmp_path / "none")
