"""The documents of the repository, taken apart into their fenced blocks."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^(#{1,6}) +(.+?) *$", re.MULTILINE)
_NO_ANCHOR = re.compile(r"[^\w\- ]")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: in which document, under which heading, in which language."""

    page: str
    heading: str
    language: str
    text: str

    @property
    def lines(self) -> list[str]:
        """The commands of a shell block, without comments and with broken lines joined."""
        joined = self.text.replace("\\\n", " ")
        return [line.strip() for line in joined.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def pages() -> list[str]:
    """Every document, by its path from the root."""
    found = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("bench/*.md"), *ROOT.glob("ops/**/*.md")]
    return sorted(str(path.relative_to(ROOT)) for path in found)


@cache
def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks_of(page: str, language: str | None = None) -> list[Block]:
    """The blocks of a document in their order, all of them or those in one language."""
    text = text_of(page)
    fences = list(_FENCE.finditer(text))
    headings = [(match.start(), match[2]) for match in _HEADING.finditer(text) if not _inside(match.start(), fences)]
    blocks = [
        Block(page, next((title for at, title in reversed(headings) if at < fence.start()), ""), fence[2], fence[3])
        for fence in fences
    ]
    return [block for block in blocks if language in {None, block.language}]


def commands_under(page: str, heading: str) -> list[list[str]]:
    """What the shell blocks under a heading say to type, a list of lines for each."""
    return [block.lines for block in blocks_of(page, "sh") if block.heading == heading]


@cache
def anchors_of(page: str) -> set[str]:
    """What a link can lead to within a document, as GitHub names it."""
    text = _FENCE.sub("", text_of(page))
    titles = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", match[2]) for match in _HEADING.finditer(text))
    return {_NO_ANCHOR.sub("", title.lower()).replace(" ", "-") for title in titles}


def prose_of(page: str) -> str:
    """A document without its fenced blocks."""
    return _FENCE.sub("", text_of(page))


def _inside(at: int, fences: list[re.Match[str]]) -> bool:
    return any(fence.start() <= at < fence.end() for fence in fences)
