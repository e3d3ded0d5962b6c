"""docs/SPEC.md: numbered rules that say MUST, each promise of which some test carries."""

import re
from functools import cache

from tests.support.documents import ROOT, text_of

PAGE = text_of("docs/SPEC.md")
SECTIONS = re.split(r"^## (\d+)\. .*$", PAGE, flags=re.MULTILINE)[1:]
RULE = re.compile(r"^- \*\*(\d+)\.(\d+)\*\* (.*(?:\n  .*)*)", re.MULTILINE)
PROMISE = re.compile(r"\(([A-Z]\d+(?:, [A-Z]\d+)*)\)")


def rules() -> dict[str, str]:
    return {f"{match[1]}.{match[2]}": match[3] for match in RULE.finditer(PAGE)}


@cache
def carried() -> set[str]:
    """Every promise that a test carries."""
    found: set[str] = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        for mark in re.findall(r"promise\(([^)]*)\)", path.read_text(encoding="utf-8")):
            found |= set(re.findall(r'"([A-Z]\d+)"', mark))
    return found


def test_rules_are_numbered_without_gaps_in_the_order_of_their_sections() -> None:
    for number, text in zip(SECTIONS[::2], SECTIONS[1::2], strict=True):
        found = [(match[1], int(match[2])) for match in RULE.finditer(text)]
        assert found == [(number, place) for place in range(1, len(found) + 1)]
    assert len(rules()) == PAGE.count("\n- **")


def test_every_rule_can_be_held_or_broken() -> None:
    assert [number for number, text in rules().items() if not re.search(r"\b(MUST|SHOULD|MAY)\b", text)] == []


def test_every_promise_of_a_rule_is_carried_by_a_test() -> None:
    named = {promise for text in rules().values() for group in PROMISE.findall(text) for promise in group.split(", ")}
    assert len(named) > 40
    assert named - carried() == set()
