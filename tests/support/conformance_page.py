"""docs/CONFORMANCE.md, written from what a test run saw."""

import json
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path

from tests.support.conformance_matrix import (
    ABSENT,
    JAVASCRIPT_PACKAGES,
    PYTHON_PACKAGES,
    SURFACES,
    Cell,
    Surface,
    every_cell,
)

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "CONFORMANCE.md"
JAVASCRIPT = ROOT / "tests" / "conformance" / "javascript"

SHOWN = "✓"
FAILED = "✗"
NOT_RUN = "not run"
_ABSENT = "–"

_HEAD = """# Conformance

Unmodified SDKs against the gateway, with the model server of the tests, which speaks as Ollama does, behind it.
This page is written by `just conformance`; every ordinary test run fails where the page no longer says what was seen.

✓ seen to work; – there is no such thing; "not run" where the machine lacked what it takes (Node).

Under "Errors" stands the exception that is raised, with its HTTP status. Bad keys, forbidden and unknown models, closed
endpoints and spent budgets are raised at once, from a single request. A rate limit is waited out by the SDKs that
retry, for as long as they are told. A stream that dies never ends as if it were whole.
"""


def javascript_packages() -> dict[str, str]:
    """The versions that are pinned, by the names of the packages."""
    pinned: dict[str, str] = json.loads((JAVASCRIPT / "package.json").read_text(encoding="utf-8"))["dependencies"]
    return pinned


def versions() -> Iterator[tuple[str, str]]:
    for sdk, package in PYTHON_PACKAGES.items():
        yield sdk, version(package)
    pinned = javascript_packages()
    for sdk, package in JAVASCRIPT_PACKAGES.items():
        yield sdk, pinned[package]


def written(cells: Mapping[Cell, str]) -> str:
    """The page; a field of which nothing is known stays empty."""
    parts = [_HEAD, _table(("SDK", "version"), versions())]
    for name, surface in SURFACES.items():
        parts += [f"## {surface.title}\n", _rows(name, surface, surface.features, cells), *_reasons(name)]
        parts += ["### Errors\n", _rows(name, surface, surface.errors, cells)]
    return "\n".join(parts)


def read(text: str) -> dict[Cell, str]:
    """The fields of a page as it was written, apart from the empty ones and those that cannot exist."""
    by_title = {surface.title: name for name, surface in SURFACES.items()}
    cells: dict[Cell, str] = {}
    surface, sdks = "", list[str]()
    for line in text.splitlines():
        if line.startswith("## "):
            surface = by_title.get(line.removeprefix("## "), "")
        elif line.startswith("| | "):
            sdks = _columns(line)[1:]
        elif surface and line.startswith("| ") and not line.startswith("| ---"):
            feature, *values = _columns(line)
            cells |= {Cell(surface, feature, sdk): value for sdk, value in zip(sdks, values, strict=True) if value}
    return {cell: value for cell, value in cells.items() if cell not in ABSENT}


def unshown(cells: Iterable[Cell]) -> list[Cell]:
    """The fields for which there is neither a test nor a reason why they cannot exist."""
    known = {*cells, *ABSENT}
    return [cell for cell in every_cell() if cell not in known]


def _rows(name: str, surface: Surface, features: Iterable[str], cells: Mapping[Cell, str]) -> str:
    def field(cell: Cell) -> str:
        return _ABSENT if cell in ABSENT else cells.get(cell, "")

    rows = [(feature, *(field(Cell(name, feature, sdk)) for sdk in surface.sdks)) for feature in features]
    return _table(("", *surface.sdks), rows)


def _reasons(name: str) -> list[str]:
    """One line for each reason, with all that it explains."""
    features: dict[str, list[str]] = {}
    for cell, reason in ABSENT.items():
        if cell.surface == name and cell.feature not in features.setdefault(reason, []):
            features[reason].append(cell.feature)
    return [f"{_ABSENT} {reason}: {'; '.join(names)}.\n" for reason, names in features.items()]


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    columns = list(head)
    lines = [columns, ["---"] * len(columns), *map(list, rows)]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines).replace("|  |", "| |")


def _columns(line: str) -> list[str]:
    return [field.strip() for field in line.strip().strip("|").split("|")]
