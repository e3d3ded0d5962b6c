"""docs/decisions/README.md lists each decision once, by its own title, in the order of their numbers."""

import re

from tests.support.documents import ROOT

FOLDER = ROOT / "docs" / "decisions"
ROW = re.compile(r"^\| (\d{4}) \| \[(.+)\]\((.+\.md)\) \| (.+) \|$", re.MULTILINE)


def test_every_decision_is_in_the_index_by_its_title() -> None:
    listed = [(match[1], match[2], match[3]) for match in ROW.finditer((FOLDER / "README.md").read_text("utf-8"))]
    pages = sorted(path for path in FOLDER.glob("*.md") if path.name != "README.md")
    assert listed == [(path.name[:4], _title(path.read_text("utf-8"), path.name[:4]), path.name) for path in pages]


def _title(text: str, number: str) -> str:
    first = text.splitlines()[0]
    assert first.startswith(f"# {number}: "), first
    return first.removeprefix(f"# {number}: ")
