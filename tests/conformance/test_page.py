"""docs/CONFORMANCE.md says what this run saw; --write-conformance writes it."""

import difflib

import pytest

from tests.support import conformance_page
from tests.support.conformance_matrix import Cell
from tests.support.conformance_page import FAILED, NOT_RUN, PAGE


def test_the_page_says_what_was_seen(seen: dict[Cell, str], pytestconfig: pytest.Config) -> None:
    """Only what was run is judged: without Node, or with a few tests alone, the rest of the page stands as it is."""
    if pytestconfig.getoption("--write-conformance", default=False):
        missing = conformance_page.unshown(seen)
        assert not missing, f"Neither a test nor a reason why not: {missing}"
        PAGE.write_text(conformance_page.written(seen), encoding="utf-8")
        return
    page = PAGE.read_text(encoding="utf-8")
    judged = {cell: value for cell, value in seen.items() if value not in {FAILED, NOT_RUN}}
    now = conformance_page.written(conformance_page.read(page) | judged)
    if page != now:
        lines = difflib.unified_diff(page.splitlines(), now.splitlines(), "the page", "what was seen", lineterm="", n=0)
        pytest.fail("\n".join(["`just conformance` writes the page anew:", *lines]), pytrace=False)


def test_the_page_reads_back_as_it_was_written() -> None:
    cells = {cell: f"`Error{number}` 4{number}" for number, cell in enumerate(conformance_page.unshown(()))}
    assert conformance_page.read(conformance_page.written(cells)) == cells
