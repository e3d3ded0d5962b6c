"""What the budgets look like in a terminal, be it narrow."""

import re
from contextlib import redirect_stdout
from datetime import UTC, datetime

import pytest

from neuronetz_gateway.cli.budget_table import print_budgets
from neuronetz_gateway.domain.budget import BudgetUsage, Period
from tests.support.commands import Terminal

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
START = datetime(2026, 6, 1, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
END = datetime(2026, 7, 1, tzinfo=UTC)
BUDGETS = (
    BudgetUsage("tenant", Period.MONTHLY, START, END, 1_000_000_000, 250_000_000, 5_227),
    BudgetUsage("tenant", Period.TOTAL, EPOCH, None, None, 250_000_000, 5_227),
)


def shown(monkeypatch: pytest.MonkeyPatch, columns: int) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    with redirect_stdout(Terminal()) as terminal:
        print_budgets(BUDGETS, NOW)
    return [COLOUR.sub("", line).rstrip() for line in terminal.getvalue().splitlines()]


def test_eighty_columns_are_enough_for_figures_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """In 80 columns the table of all figures broke `1,000,000,0` and `00` over two lines."""
    lines = shown(monkeypatch, 80)
    assert len(lines) == 1 + len(BUDGETS) + 1
    assert all(len(line) <= 80 for line in lines)
    assert "1,000,000,000" in lines[1]
    assert "25 %" in lines[1]
    assert lines[1].endswith("in 29 d 12 h")
    assert "5,227 tokens" in lines[-1]


def test_a_wide_terminal_shows_every_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = shown(monkeypatch, 160)
    assert len(lines) == 1 + len(BUDGETS)
    assert "749,994,773" in lines[1]
    assert lines[1].endswith("(2026-07-01 00:00 UTC)")
