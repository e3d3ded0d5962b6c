"""Every target of fuzzing is run by `just fuzz`, from inputs that hold."""

from pathlib import Path

import pytest

from fuzz.__main__ import NAMES, named

FOLDER = Path(__file__).resolve().parents[2] / "fuzz"


def test_every_target_is_in_the_list() -> None:
    assert {path.stem for path in FOLDER.glob("*.py") if "\nTARGET = " in path.read_text()} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_target_holds_for_what_it_starts_from(name: str) -> None:
    target = named(name)
    seeds = list(target.seeds())
    assert seeds
    for seed in (b"", *seeds):
        target.check(seed)
