"""SECURITY.md names, for each promise that it makes, tests that are there and carry its number."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\|[^|]*\|[^|]*\| \*\*([A-Z]\d+)\*\* [^|]*\|([^|]*)\|$", PAGE, re.MULTILINE)


def test_every_row_of_the_threat_model_is_read() -> None:
    assert len(ROWS) == sum(line.startswith("| ") and "**" in line for line in PAGE.splitlines()) > 25


@pytest.mark.parametrize(("promise", "named"), ROWS, ids=[promise for promise, _ in ROWS])
def test_the_tests_of_a_promise_are_there_and_carry_its_number(promise: str, named: str) -> None:
    files = re.findall(r"`(tests/[\w/]+\.py)`", named)
    assert files, f"{promise} names no test"
    for name in files:
        marks = re.findall(r"promise\(([^)]*)\)", (ROOT / name).read_text(encoding="utf-8"))
        assert any(f'"{promise}"' in mark for mark in marks), f"{name} carries no promise({promise})"


def test_what_the_page_leads_to_is_there() -> None:
    for target in re.findall(r"\]\(([\w./-]+)\)", PAGE):
        assert (ROOT / target).is_file(), target
