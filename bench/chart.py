"""The charts: processor time by case and target, memory over time."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bench.report import Row

COLOURS = {"nginx": "#9aa5b1", "caddy": "#5b7c99", "uvicorn": "#c4b7a6", "gateway": "#d9622b"}
OTHER_COLOURS = ("#7a5195", "#2f9e78", "#c9a227", "#b23a48")
_BAR, _BETWEEN = 0.8, 0.6  # in bars
_INCHES_A_BAR, _INCHES_AROUND, _WIDTH_INCHES = 0.24, 1.3, 9.0


def draw(summary: Sequence[Row], file: Path) -> Path:
    """A PNG of the proxy's processor time for one unit, one bar a target, on a logarithmic scale."""
    rows = [row for row in summary if row.get("proxy_us")]
    cases = list(dict.fromkeys(row["case"] for row in rows))
    targets = list(dict.fromkeys(row["target"] for row in rows))
    figure = Figure(figsize=(_WIDTH_INCHES, _INCHES_AROUND + _INCHES_A_BAR * (len(rows) + _BETWEEN * len(cases))))
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    place, ticks, named = 0.0, [], set()
    for case in cases:
        group = [row for row in rows if row["case"] == case]
        ticks.append((place + (len(group) - 1) / 2, f"{case}\n({group[0]['unit']})"))
        for row in group:
            target, cost = row["target"], row["proxy_us"]
            label = target if target not in named else None
            axes.barh(place, cost, height=_BAR, color=_colour(target, targets), label=label)
            axes.text(cost * 1.04, place, f"{cost:,.1f}", va="center", fontsize=8)
            named.add(target)
            place += 1
        place += _BETWEEN
    if rows:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:,g}")
        axes.set_xlim(min(row["proxy_us"] for row in rows) / 2, max(row["proxy_us"] for row in rows) * 2)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(targets), frameon=False, fontsize=9)
    axes.set_yticks([at for at, _ in ticks], [name for _, name in ticks], fontsize=9)
    axes.set_ylim(place - _BETWEEN, -1)
    axes.set_xlabel("processor time of the proxy for one unit, microseconds (logarithmic)")
    return _saved(figure, file)


def draw_memory(samples: Sequence[tuple[float, float]], file: Path) -> Path:
    """A PNG of resident memory (MiB) over time (seconds)."""
    figure = Figure(figsize=(_WIDTH_INCHES, 4.0))
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.plot([seconds / 60 for seconds, _ in samples], [mib for _, mib in samples], color=COLOURS["gateway"])
    axes.set_xlim(left=0)
    axes.set_ylim(0, max((mib for _, mib in samples), default=1) * 1.2)
    axes.set_xlabel("minutes")
    axes.set_ylabel("resident memory of the gateway, MiB")
    return _saved(figure, file)


def _colour(target: str, targets: Sequence[str]) -> str:
    others = [name for name in targets if name not in COLOURS]
    return COLOURS.get(target) or OTHER_COLOURS[others.index(target) % len(OTHER_COLOURS)]


def _saved(figure: Figure, file: Path) -> Path:
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(file, dpi=130)
    return file
