"""Medians, ratios, a table of what the rounds have shown."""

import statistics
from typing import Any

type Row = dict[str, Any]  # case, target, round, then figures

COLUMNS = {
    "per_second": ("units/s", 0),
    "p50_ms": ("p50 ms", 2),
    "p99_ms": ("p99 ms", 2),
    "gap_p99_ms": ("gap p99", 1),
    "transit_p50_ms": ("transit p50", 2),
    "transit_p99_ms": ("transit p99", 2),
    "proxy_us": ("proxy us", 1),
    "postgres_us": ("postgres us", 1),
    "valkey_us": ("valkey us", 1),
    "proxy_rss_mib": ("RSS MiB", 0),
    "failed": ("failed", 0),
}
YARDSTICK = "nginx"


def medians(rows: list[Row]) -> list[Row]:
    """One row for each case and target, in the order of their first appearance."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["case"], row["target"]), []).append(row)
    return [{"case": case, "target": target} | _median(group) for (case, target), group in groups.items()]


def _median(group: list[Row]) -> Row:
    figures = {name: [row[name] for row in group if name in row] for name in COLUMNS}
    result: Row = {name: statistics.median(values) for name, values in figures.items() if values}
    result["failed"] = sum(row.get("failed", 0) for row in group)
    return result


def table(summary: list[Row]) -> str:
    """A unit is an answer, in streams a record; us are those of one unit; `x` is the proxy's CPU over nginx's."""
    shown = [name for name in COLUMNS if any(name in row for row in summary)]
    heads = ["case", "target", *(COLUMNS[name][0] for name in shown), "x nginx"]
    lines = [
        [row["case"], row["target"], *(_cell(row, name) for name in shown), _ratio(row, summary)] for row in summary
    ]
    widths = [max(len(line[index]) for line in [heads, *lines]) for index in range(len(heads))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if index < 2 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in [heads, *lines]
    )


def _cell(row: Row, name: str) -> str:
    return f"{row[name]:,.{COLUMNS[name][1]}f}" if name in row else "-"


def _ratio(row: Row, summary: list[Row]) -> str:
    base = next((other for other in summary if (other["case"], other["target"]) == (row["case"], YARDSTICK)), {})
    return f"{row['proxy_us'] / base['proxy_us']:.1f}" if row.get("proxy_us") and base.get("proxy_us") else "-"
