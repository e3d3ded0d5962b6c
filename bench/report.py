"""Medians, differences, ratios, a table of what the rounds have shown."""

import statistics
from collections.abc import Sequence
from typing import Any

type Row = dict[str, Any]  # case, target, round, unit, then figures

COLUMNS = {
    "per_second": ("units/s", 0),
    "p50_ms": ("p50 ms", 2),
    "p99_ms": ("p99 ms", 2),
    "first_p50_ms": ("first p50", 2),
    "first_p99_ms": ("first p99", 2),
    "gap_p99_ms": ("gap p99", 1),
    "transit_p50_ms": ("transit p50", 2),
    "transit_p99_ms": ("transit p99", 2),
    "added_p50_ms": ("added p50 ms", 2),
    "added_gap_p99_ms": ("added gap p99", 1),
    "proxy_us": ("proxy us", 1),
    "postgres_us": ("postgres us", 1),
    "valkey_us": ("valkey us", 1),
    "proxy_rss_mib": ("RSS MiB", 0),
    "peak_mib": ("peak MiB", 0),
    "stream_kib": ("KiB/stream", 1),
    "failed": ("failed", 0),
    "x_nginx": ("x nginx", 2),
    "x_caddy": ("x caddy", 2),
    "x_uvicorn": ("x uvicorn", 2),
}
YARDSTICKS = ("nginx", "caddy", "uvicorn")
# What is held against the same figure of the upstream alone. In a closed loop of several connections most of the time
# is waiting in queues, so that a difference would tell nothing there.
ADDED = {"transit_p50_ms": "added_p50_ms", "gap_p99_ms": "added_gap_p99_ms"}
ADDED_ALONE = {"p50_ms": "added_p50_ms"}


def medians(rows: Sequence[Row]) -> list[Row]:
    """One row for each case and target, in the order of their first appearance, with what it is beside the others."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["case"], row["target"]), []).append(row)
    summary = {names: _median(group) for names, group in groups.items()}
    for (case, _), row in summary.items():
        _hold_against(row, summary.get((case, "direct"), {}))
        for yardstick in YARDSTICKS:
            other = summary.get((case, yardstick), {})
            if row.get("proxy_us") and other.get("proxy_us"):
                row[f"x_{yardstick}"] = row["proxy_us"] / other["proxy_us"]
    return list(summary.values())


def _median(group: list[Row]) -> Row:
    figures = {name: [row[name] for row in group if name in row] for name in COLUMNS}
    facts = {name: group[0][name] for name in ("case", "target", "unit", "connections")}
    result = facts | {name: statistics.median(values) for name, values in figures.items() if values}
    result["failed"] = sum(row["failed"] for row in group)
    return result


def _hold_against(row: Row, direct: Row) -> None:
    if not direct or row is direct:
        return
    for name, added in (ADDED | (ADDED_ALONE if row["connections"] == 1 else {})).items():
        if name in row and name in direct:
            row[added] = row[name] - direct[name]


def tables(summary: Sequence[Row]) -> str:
    """One table a case, of the figures that it has."""
    cases = dict.fromkeys(row["case"] for row in summary)
    return "\n\n".join(_table([row for row in summary if row["case"] == case]) for case in cases)


def _table(rows: Sequence[Row]) -> str:
    shown = [name for name in COLUMNS if any(name in row for row in rows)]
    heads = [f"{rows[0]['case']} (a unit: {rows[0]['unit']})", *(COLUMNS[name][0] for name in shown)]
    lines = [heads, *([row["target"], *(_cell(row, name) for name in shown)] for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(heads))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if index else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _cell(row: Row, name: str) -> str:
    return f"{row[name]:,.{COLUMNS[name][1]}f}" if name in row else "-"
