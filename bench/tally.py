"""What callers saw of the answers: times, records, their percentiles."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.load import Load

_STAMP = re.compile(rb"@(\d+)@")


@dataclass(slots=True)
class Tally:
    """What all callers saw; times in nanoseconds."""

    answers: int = 0
    failures: Counter[str] = field(default_factory=Counter)  # by status, or by what came instead of an answer
    records: int = 0
    latency: list[int] = field(default_factory=list)  # to the last byte
    first: list[int] = field(default_factory=list)  # to the first record
    gaps: list[int] = field(default_factory=list)
    transit: list[int] = field(default_factory=list)  # from the upstream's write to our read


def note_records(tally: Tally, began: int, reads: Sequence[tuple[int, bytes]]) -> None:
    """What the reads of one stream tell: whole lines, each with the time of its sending."""
    rest, last = b"", 0
    for now, data in reads:
        whole = rest + data
        cut = whole.rfind(b"\n") + 1
        stamps, rest = _STAMP.findall(whole, 0, cut), whole[cut:]
        if not stamps:
            continue
        tally.records += len(stamps)
        tally.transit += [now - int(stamp) for stamp in stamps]
        if last:
            tally.gaps.append(now - last)
        else:
            tally.first.append(now - began)
        last = now


def percentile(values: Sequence[int], percent: float) -> float:
    """In milliseconds, of sorted nanoseconds; 0 for no values."""
    return values[min(len(values) - 1, int(len(values) * percent / 100))] / 1e6 if values else 0.0


def shares(load: Load, tally: Tally) -> dict[str, float]:
    """Percentiles in milliseconds, by name."""
    times = {"first_": tally.first, "gap_": tally.gaps, "transit_": tally.transit} if load.stamped else {}
    if not load.once:
        times |= {"": tally.latency}
    ordered = {name: sorted(values) for name, values in times.items()}
    return {
        f"{name}p{percent}_ms": percentile(values, percent) for name, values in ordered.items() for percent in (50, 99)
    }
