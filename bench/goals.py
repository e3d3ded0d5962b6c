"""The goals of the gateway on one core, held against what was measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.report import Row

SUBJECT = "gateway"


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure of a case that is to be at most so much."""

    words: str
    case: str
    figure: str
    most: float


GOALS = (
    Goal("small answers, 64 connections: us an answer, first step", "small-64", "proxy_us", 140),
    Goal("the same: good", "small-64", "proxy_us", 110),
    Goal("the same: the goal, a bare Caddy hop", "small-64", "proxy_us", 90),
    # Where the goals were set a bare answer of uvicorn took 21 us, and 140 are 6.7 of them, on whatever machine.
    Goal("the same, first step: times a bare uvicorn's", "small-64", "x_uvicorn", 6.7),
    Goal("small answers, 256 connections: times Caddy's", "small-256", "x_caddy", 1.0),
    Goal("500 paced streams: us a record", "paced-500", "proxy_us", 26),
    Goal("the same: times nginx's", "paced-500", "x_nginx", 1.6),
    Goal("2,000 paced streams: added gap between records, p99 ms", "paced-2000", "added_gap_p99_ms", 5),
    Goal("the same: KiB an open stream", "paced-2000", "stream_kib", 60),
    Goal("one caller: added p50 ms", "small-1", "added_p50_ms", 1.0),
)
IDLE_MIB = 100


def table(summary: Sequence[Row], idle_mib: Mapping[str, float]) -> str:
    """One line a goal that was measured; empty for none."""
    rows = {row["case"]: row for row in summary if row["target"] == SUBJECT}
    lines = [
        _line(goal.words, goal.most, rows[goal.case][goal.figure])
        for goal in GOALS
        if goal.figure in rows.get(goal.case, {})
    ]
    if lines and SUBJECT in idle_mib:
        lines.append(_line("memory, idle: MiB", IDLE_MIB, idle_mib[SUBJECT]))
    return "\n".join(lines)


def _line(words: str, most: float, measured: float) -> str:
    return f"{words:58}  <= {most:6,.1f}  {measured:8,.1f}  {'met' if measured <= most else 'MISSED'}"
