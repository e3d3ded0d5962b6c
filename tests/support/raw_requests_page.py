"""The table of hostile requests as Markdown, for docs/SECURITY-TESTS.md."""

import itertools
from collections.abc import Iterator

from tests.hostile import raw_request_fields as fields
from tests.hostile import raw_request_framing as framing
from tests.hostile import raw_request_lines as lines
from tests.hostile.raw_requests import Hostile

SECTIONS: dict[str, tuple[Hostile, ...]] = {
    "Methods": lines.METHODS,
    "Request lines": lines.LINES,
    "Versions": lines.VERSIONS,
    "Targets": lines.TARGETS,
    "What stands behind a request": lines.BEHIND,
    "The form of fields": fields.FORM,
    "Host": fields.HOSTS,
    "Expect": fields.EXPECTATIONS,
    "Upgrades": fields.UPGRADES,
    "Connection, credentials": fields.NAMED,
    "What proxies say": fields.PROXIES,
    "Lengths": framing.LENGTHS,
    "Transfer codings": framing.CODINGS,
    "Chunks": framing.CHUNKS,
    "Trailers": framing.TRAILERS,
}


def page() -> str:
    """The whole table; "closed" and "kept" tell what becomes of the connection."""
    return "\n".join(_rows()) + "\n"


def _rows() -> Iterator[str]:
    yield "| nr | request | answer | reason |"
    yield "|---|---|---|---|"
    numbers = itertools.count(1)
    for title, section in SECTIONS.items():
        yield f"| | **{title}** | | |"
        for hostile in section:
            yield f"| {next(numbers)} | {_plain(hostile.name)} | {_answer(hostile)} | {_plain(hostile.why)} |"


def _answer(hostile: Hostile) -> str:
    up = f", reaches {', '.join(f'`{route}`' for route in hostile.reached)}" if hostile.reached else ""
    return f"{hostile.status or 'none'}, {'kept' if hostile.kept else 'closed'}{up}"


def _plain(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("*", "\\*").replace("_", "\\_")


if __name__ == "__main__":
    print(page(), end="")
