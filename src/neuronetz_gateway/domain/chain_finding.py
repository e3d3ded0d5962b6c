"""What can be wrong with the audit log, in words that name the row."""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum


class Wrong(StrEnum):
    """What kind of thing is wrong; names for programs."""

    ROW_CHANGED = "row_changed"
    ROWS_MISSING = "rows_missing"
    ROW_OUT_OF_PLACE = "row_out_of_place"
    ROW_UNCHAINED = "row_unchained"
    ROWS_UNSIGNED = "rows_unsigned"  # put there after their day was signed as a whole
    HEAD_DIFFERS = "head_differs"
    CHECKPOINT_DIFFERS = "checkpoint_differs"  # rows were changed with all hashes behind them
    CHECKPOINT_BROKEN = "checkpoint_broken"
    CHECKPOINT_MISSING = "checkpoint_missing"
    SINK_DIFFERS = "sink_differs"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: `words` alone tell all of it, the other fields are for programs.

    sequence is the row by which it shows, first_sequence the first row that it may be about where that is another.
    """

    wrong: Wrong
    words: str
    writer: str | None = None
    day: date | None = None
    first_sequence: int | None = None
    sequence: int | None = None
    id: str | None = None
    checkpoint: int | None = None
