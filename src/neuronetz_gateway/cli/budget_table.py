"""Draws budgets: what is used, how full each is, when it starts anew."""

from collections.abc import Sequence
from datetime import UTC, datetime

from rich.table import Table
from rich.text import Text

from neuronetz_gateway.cli import output
from neuronetz_gateway.domain.budget import BudgetUsage

_SHORT_BAR_CELLS = 10


def print_budgets(budgets: Sequence[BudgetUsage], now: datetime | None = None) -> None:
    """Print one row a budget; a period without a budget shows what was used all the same."""
    at = now or datetime.now(UTC)
    wide = _wide(budgets, at)
    if output.fits(wide):
        output.console().print(wide)
        return
    output.console().print(_narrow(budgets, at))
    if reserved := max((budget.reserved_tokens for budget in budgets), default=0):
        output.line(f"In flight: {output.count(reserved)} tokens, which FULL counts in.")


def _wide(budgets: Sequence[BudgetUsage], now: datetime) -> Table:
    return output.drawn_table(
        ("BUDGET", ">USED", ">IN FLIGHT", ">LIMIT", ">LEFT", "FULL", "STARTS ANEW"),
        (
            (
                _name(budget),
                output.count(budget.used_tokens),
                output.count(budget.reserved_tokens),
                output.count(budget.limit_tokens, "unlimited"),
                output.count(budget.left_tokens, "-"),
                _fullness(budget, output.BAR_CELLS),
                _reset(budget.window_end, now),
            )
            for budget in budgets
        ),
    )


def _narrow(budgets: Sequence[BudgetUsage], now: datetime) -> Table:
    """The same for a terminal of 80 columns: what follows from the other figures is left out."""
    return output.drawn_table(
        ("BUDGET", ">USED", ">LIMIT", "FULL", "STARTS ANEW"),
        (
            (
                _name(budget),
                output.count(budget.used_tokens),
                output.count(budget.limit_tokens, "unlimited"),
                _fullness(budget, _SHORT_BAR_CELLS),
                "never" if budget.window_end is None else f"in {output.ahead(budget.window_end, now)}",
            )
            for budget in budgets
        ),
    )


def _name(budget: BudgetUsage) -> str:
    return f"{budget.scope} {budget.period.value}"


def _fullness(budget: BudgetUsage, cells: int) -> str | Text:
    if budget.limit_tokens is None:
        return "-"
    taken = budget.used_tokens + budget.reserved_tokens
    return output.bar(taken / budget.limit_tokens if budget.limit_tokens else 1.0, cells)


def _reset(end: datetime | None, now: datetime) -> str:
    return "never" if end is None else f"in {output.ahead(end, now)} ({output.instant(end)})"
