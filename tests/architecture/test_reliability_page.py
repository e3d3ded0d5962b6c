"""docs/RELIABILITY.md names, for each promise on faults, tests that are there and carry its number."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "RELIABILITY.md"
PROMISES = [
    *("L5", "L6", "L8", "L9", "B4", "B6", "A5", "A6", "D1", "D2", "D3"),
    *("D4", "D5", "D6", "S4", "S6", "O4", "F1", "F2", "F3", "F4", "F5", "P4"),
]
ROW = re.compile(r"^\| \*\*([A-Z]\d+)\*\* \|(.*)\|$", re.MULTILINE)
TEST_FILE = re.compile(r"`(tests/[\w/]+\.py)`")


def rows() -> dict[str, str]:
    return {match[1]: match[2] for match in ROW.finditer(PAGE.read_text(encoding="utf-8"))}


def test_every_promise_on_faults_has_its_row() -> None:
    assert sorted(rows()) == sorted(PROMISES)


@pytest.mark.parametrize("promise", PROMISES)
def test_the_tests_of_a_promise_are_there_and_carry_its_number(promise: str) -> None:
    named = TEST_FILE.findall(rows()[promise])
    assert named, f"{promise} names no test"
    for name in named:
        marks = re.findall(r"promise\(([^)]*)\)", (ROOT / name).read_text(encoding="utf-8"))
        assert any(f'"{promise}"' in mark for mark in marks), f"{name} carries no promise({promise})"
