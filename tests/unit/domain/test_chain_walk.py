"""Walking along a chain: what is told of which row."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from uuid import UUID

import pytest

from neuronetz_gateway.domain.audit_chain import NO_HASH, TEXT_COLUMNS, ChainName, Head, linked_hash, row_text
from neuronetz_gateway.domain.chain_finding import Finding
from neuronetz_gateway.domain.chain_walk import ChainedRow, ChainWalk, Listing

WRITER = "00000000-0000-7000-8000-000000000000"
DAY = date(2027, 1, 31)


def _row(sequence: int, before: bytes, model: str = "llama3:latest") -> ChainedRow:
    values = tuple(model if name == "model" else sequence if name == "sequence" else None for name in TEXT_COLUMNS)
    return ChainedRow(WRITER, sequence, f"row-{sequence}", values, linked_hash(before, row_text(values)))


def _chain(count: int, changed: int = 0) -> list[ChainedRow]:
    """Rows of a chain, of which one is another one than it was, with all hashes computed from it on."""
    rows: list[ChainedRow] = []
    for sequence in range(1, count + 1):
        before = (rows[-1].hash or b"") if rows else NO_HASH
        rows.append(_row(sequence, before, "other" if sequence == changed else "llama3:latest"))
    return rows


def _walked(
    rows: list[ChainedRow], *, listed: tuple[int, ...] = (), head: int | None = 10, all_are_signed: bool = False
) -> list[Finding]:
    """What is found where the chain had ten rows, some of which checkpoints list."""
    genuine = _chain(10)
    listings = [
        Listing(sequence, number, genuine[sequence - 1].hash or b"") for number, sequence in enumerate(listed, 1)
    ]
    known = None if head is None else Head(ChainName(UUID(WRITER), DAY), head, rows[-1].hash or b"" if rows else b"")
    found: list[Finding] = []
    walk = ChainWalk(WRITER, DAY, known, listings, found.append)
    for row in rows:
        walk.row(row)
    walk.end(all_are_signed=all_are_signed)
    return found


def _without(sequence: int) -> list[ChainedRow]:
    return [row for row in _chain(10) if row.sequence != sequence]


def _with(sequence: int, change: Callable[[ChainedRow], ChainedRow]) -> list[ChainedRow]:
    return [change(row) if row.sequence == sequence else row for row in _chain(10)]


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        (_chain(10), []),
        (_without(5), [("rows_missing", 5, 5)]),
        (_without(10), [("rows_missing", 10, 10)]),
        (_with(5, lambda row: replace(row, values=(*row.values[:-1], 7))), [("row_changed", 5, 5)]),
        (_with(5, lambda row: replace(row, hash=b"x" * 32)), [("row_changed", 5, 5)]),
        (_with(5, lambda row: replace(row, hash=None)), [("row_changed", 5, 5)]),
        (_chain(10, changed=2), [("checkpoint_differs", 1, 4)]),
        (_chain(10, changed=4), [("checkpoint_differs", 1, 4)]),
        (_chain(10, changed=5), [("checkpoint_differs", 5, 8)]),
        ([*_chain(7, changed=5), *_chain(10)[7:]], [("row_changed", 5, 8)]),
        ([*_chain(10), _chain(3)[2]], [("row_out_of_place", 3, 3)]),
        ([], [("rows_missing", 1, 10)]),
    ],
)
def test_what_is_wrong_is_told_once_by_its_row_or_its_stretch(
    rows: list[ChainedRow], found: list[tuple[str, int, int]]
) -> None:
    """Checkpoints list rows 4, 8 and 10."""
    told = [each for each in _walked(rows, listed=(4, 8, 10)) if each.wrong != "head_differs"]
    assert [(each.wrong, each.sequence) for each in told] == [(wrong, last) for wrong, _, last in found]
    for each, (_, first, _) in zip(told, found, strict=True):
        assert each.first_sequence is not None
        assert each.first_sequence <= first


def test_a_chain_without_a_head_or_past_it_is_told_of() -> None:
    assert [each.wrong for each in _walked(_chain(10), head=None)] == ["head_differs"]
    (past,) = _walked(_chain(10), head=8)
    assert (past.wrong, past.first_sequence, past.sequence, past.id) == ("head_differs", 9, 10, "row-10")


def test_rows_that_no_checkpoint_lists_are_wrong_only_where_all_should_be_listed() -> None:
    assert _walked(_chain(10), listed=(4,)) == []
    (late,) = _walked(_chain(10), listed=(4,), all_are_signed=True)
    assert (late.wrong, late.first_sequence, late.sequence) == ("rows_unsigned", 5, 10)
    assert _walked(_chain(10), listed=(4, 10), all_are_signed=True) == []


def test_the_words_name_the_row_and_where_else_the_change_may_be() -> None:
    (changed,) = _walked(_with(6, lambda row: replace(row, hash=b"x" * 32)), listed=(4, 10))
    assert changed.words == (
        f"chain {WRITER} of 2027-01-31: row 6 (row-6) is not what its hash was made of: it was changed (or, with its"
        " hash, row 5)"
    )
    (contradicted,) = _walked(_chain(10, changed=6), listed=(4, 10))
    assert contradicted.words == (
        f"chain {WRITER} of 2027-01-31: checkpoint 2 lists another hash for row 10 (row-10): it (or, with its hash, one"
        " of rows 5 to 9) was changed, with the hashes from there on"
    )
