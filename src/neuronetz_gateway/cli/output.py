"""Prints results on stdout as tables or as one JSON document, remarks on stderr."""

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

_WIDTH_WITHOUT_TERMINAL = 160
_ENDLESS = 10_000
BAR_CELLS = 20
_NEARLY_FULL = 0.8
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))


def console() -> Console:
    """A console on stdout; into a pipe or a file it writes wide plain text, so that nothing is cut off."""
    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(highlight=False, width=_WIDTH_WITHOUT_TERMINAL, color_system=None)


def document(value: Any) -> None:
    """Print one JSON document on one line."""
    print(json.dumps(value, ensure_ascii=False, separators=(",", ":")), flush=True)


def line(text: str) -> None:
    """Print one line of result."""
    print(text, flush=True)


def remark(text: str) -> None:
    """Tell the person at the terminal something that is no result."""
    print(text, file=sys.stderr, flush=True)


def shown(text: str) -> str:
    """A text as a terminal may show it: what others have named cannot steer the screen."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> None:
    """Print a table; a column whose name begins with > is aligned to the right, one with ! is never broken."""
    console().print(drawn_table(columns, rows))


def fits(drawn: Table) -> bool:
    """Whether a table can be printed here without a cell being broken."""
    page = console()
    return page.measure(drawn, options=page.options.update(width=_ENDLESS)).maximum <= page.width


def drawn_table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> Table:
    """A table that is not printed yet."""
    drawn = Table(header_style="bold", box=None, pad_edge=False)
    for name in columns:
        drawn.add_column(
            name.lstrip(">!"),
            justify="right" if name.startswith(">") else "left",
            no_wrap=name.startswith("!"),
            overflow="fold",
        )
    for row in rows:
        drawn.add_row(*(Text(shown(cell)) if isinstance(cell, str) else cell for cell in row))
    return drawn


def facts(pairs: Iterable[tuple[str, str]]) -> None:
    """Print names with their values, one pair a line, the values below each other."""
    known = list(pairs)
    widest = max(len(name) for name, _ in known)
    for name, value in known:
        line(f"{name:<{widest}}  {shown(value)}")


def count(figure: int | None, none: str = "none") -> str:
    """A figure with thousands separated, or the word for its absence."""
    return none if figure is None else f"{figure:,}"


def bar(part: float, cells: int = BAR_CELLS) -> Text:
    """How full something is: some cells with the percentage, red when full, yellow when nearly so."""
    filled = min(cells, int(part * cells + 0.5)) if part > 0 else 0
    filled = max(filled, 1) if part > 0 else 0
    colour = "red" if part >= 1 else "yellow" if part >= _NEARLY_FULL else "green"
    drawn = Text("█" * filled, style=colour)
    drawn.append("░" * (cells - filled), style="dim")
    drawn.append(f" {percentage(part)}")
    return drawn


def percentage(part: float) -> str:
    """A share as whole percent, never 100 % before it is full, never 0 % when something is used."""
    if 0 < part < 0.01:  # noqa: PLR2004 - one percent
        return "<1 %"
    return f"{int(part * 100)} %"


def instant(moment: datetime | None, none: str = "never") -> str:
    """A moment in UTC to the minute, or the word for its absence."""
    return none if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def day(moment: datetime) -> str:
    """The day of a moment, in UTC."""
    return f"{moment.astimezone(UTC):%Y-%m-%d}"


def iso(moment: datetime | None) -> str | None:
    """A moment for machines: ISO 8601 in UTC, or null."""
    return None if moment is None else moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def ahead(moment: datetime, now: datetime) -> str:
    """How long until a moment, in its two largest units."""
    seconds = max(0, int((moment - now).total_seconds()))
    if seconds < _UNITS[-1][0]:
        return f"{seconds} s"
    parts: list[str] = []
    for size, name in _UNITS:
        amount, seconds = divmod(seconds, size)
        if amount or parts:
            parts.append(f"{amount} {name}")
    return " ".join(part for part in parts[:2] if not part.startswith("0 "))
