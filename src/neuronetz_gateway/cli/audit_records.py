"""Rows of the audit log as JSON objects, as lines of CSV, as cells of a table."""

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from datetime import UTC, date, datetime
from functools import cache
from operator import attrgetter
from typing import Any
from uuid import UUID

import orjson
from rich.table import Table

from neuronetz_gateway.cli import output
from neuronetz_gateway.cli.records import Record
from neuronetz_gateway.repositories.audit_rows import AuditRow

COLUMNS = tuple(field.name for field in fields(AuditRow))
_VALUES = attrgetter(*COLUMNS)
_CONVERTERS: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (datetime, output.iso),  # before date, which a datetime is too
    (date, date.isoformat),
    (UUID, str),
    (bytes, bytes.hex),
)
_FORMULA = ("=", "+", "-", "@")  # what makes a spreadsheet run a cell; tabs and line breaks are escaped before


def audit_record(row: AuditRow) -> Record:
    """All columns with the names of tenant and key; hashes in hexadecimal, moments in UTC to the microsecond."""
    return {name: _plain(value) for name, value in zip(COLUMNS, _VALUES(row), strict=True)}


def json_lines(rows: Iterable[AuditRow]) -> str:
    """One JSON object a line. What is not ASCII is escaped: nothing in it can steer a terminal or break a line."""
    return "".join(f"{_ascii(orjson.dumps(audit_record(row)))}\n" for row in rows)


def csv_head() -> str:
    return _csv_lines([COLUMNS])


def csv_lines(rows: Iterable[AuditRow]) -> str:
    """One line a row; a text that a spreadsheet would take for a formula has an apostrophe before it (OWASP).

    So this form is for people: whoever checks hashes takes JSON lines.
    """
    return _csv_lines([[_cell(value) for value in audit_record(row).values()] for row in rows])


def drawn_rows(rows: Sequence[AuditRow]) -> Table:
    """As much of each row as fits in the terminal."""
    for columns in (_WIDE, _MIDDLE):
        drawn = _drawn(columns, rows)
        if output.fits(drawn):
            return drawn
    return _drawn(_NARROW, rows)


def _plain(value: Any) -> Any:
    return _converter(type(value))(value)  # type: ignore[arg-type]  # a class is hashable, whatever mypy takes it for


@cache
def _converter(kind: type) -> Callable[[Any], Any]:
    """How values of one type stand in a document; asked once a type, since an export has millions of values."""
    found = (convert for base, convert in _CONVERTERS if issubclass(kind, base))
    return next(found, lambda value: value)


def _ascii(document: bytes) -> str:
    text = document.decode()
    if text.isascii() and "\x7f" not in text:
        return text
    return "".join(c if " " <= c <= "~" else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    """As JSON escapes it: beyond the first 65,536 characters by a pair of surrogates."""
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


def _csv_lines(lines: Iterable[Sequence[Any]]) -> str:
    page = io.StringIO()
    csv.writer(page, lineterminator="\n").writerows(lines)
    return page.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        shown = output.shown(value)
        return f"'{shown}" if shown.startswith(_FORMULA) else shown
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else value


def _when(row: AuditRow) -> str:
    return f"{row.admitted_at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def _when_short(row: AuditRow) -> str:
    return f"{row.admitted_at.astimezone(UTC):%m-%d %H:%M:%S}"


def _who(row: AuditRow) -> str:
    return row.key or row.tenant or row.address


def _ended(row: AuditRow) -> str:
    """How it ended: the outcome, the reason of a refusal, how many such there were."""
    words = f"{row.outcome}: {row.reason}" if row.reason else row.outcome
    return f"{words} (x {row.occurrences:,})" if row.occurrences > 1 else words


def _tokens(row: AuditRow) -> str:
    return f"~{row.charged_tokens:,}" if row.estimated else f"{row.charged_tokens:,}"


type _Column = tuple[str, Callable[[AuditRow], str]]

_TIME: _Column = ("!TIME (UTC)", _when)
_SHORT_TIME: _Column = ("!TIME (UTC)", _when_short)
_WIDE: tuple[_Column, ...] = (
    _TIME,
    ("TENANT", lambda row: row.tenant or "-"),
    ("!KEY", lambda row: row.key or "-"),
    ("ENDPOINT", lambda row: row.endpoint or "-"),
    ("MODEL", lambda row: row.model or "-"),
    ("HOW IT ENDED", _ended),
    (">STATUS", lambda row: str(row.status or "-")),
    (">TOKENS", _tokens),
    ("ADDRESS", lambda row: row.address or "-"),
    ("!ID", lambda row: str(row.id)),
)
_MIDDLE: tuple[_Column, ...] = (
    _TIME,
    ("TENANT", lambda row: row.tenant or "-"),
    ("KEY OR ADDRESS", _who),
    ("MODEL", lambda row: row.model or "-"),
    ("HOW IT ENDED", _ended),
    (">STATUS", lambda row: str(row.status or "-")),
    (">TOKENS", _tokens),
)
_NARROW: tuple[_Column, ...] = (
    _SHORT_TIME,
    ("KEY OR ADDRESS", _who),
    ("MODEL", lambda row: row.model or "-"),
    ("HOW IT ENDED", _ended),
    (">STATUS", lambda row: str(row.status or "-")),
    (">TOKENS", _tokens),
)


def _drawn(columns: Sequence[_Column], rows: Sequence[AuditRow]) -> Table:
    return output.drawn_table([name for name, _ in columns], ([cell(row) for _, cell in columns] for row in rows))
