"""Draws budgets: what is used, how full each is, when it starts anew."""

from collections.abc import Sequence
from datetime import UTC, datetime

from rich.text import Text

from neuronetz_gateway.cli import output
from neuronetz_gateway.domain.budget import BudgetUsage


def print_budgets(budgets: Sequence[BudgetUsage], now: datetime | None = None) -> None:
    """Print one row a budget; a period without a budget shows what was used all the same."""
    at = now or datetime.now(UTC)
    output.table(
        ("BUDGET", ">USED", ">IN FLIGHT", ">LIMIT", ">LEFT", "FULL", "STARTS ANEW"),
        (_row(budget, at) for budget in budgets),
    )


def _row(budget: BudgetUsage, now: datetime) -> tuple[str | Text, ...]:
    return (
        f"{budget.scope} {budget.period.value}",
        output.count(budget.used_tokens),
        output.count(budget.reserved_tokens),
        output.count(budget.limit_tokens, "unlimited"),
        output.count(budget.left_tokens, "-"),
        "-" if budget.limit_tokens is None else output.bar(_fullness(budget, budget.limit_tokens)),
        _reset(budget.window_end, now),
    )


def _fullness(budget: BudgetUsage, limit_tokens: int) -> float:
    taken = budget.used_tokens + budget.reserved_tokens
    return taken / limit_tokens if limit_tokens else 1.0


def _reset(end: datetime | None, now: datetime) -> str:
    return "never" if end is None else f"in {output.ahead(end, now)} ({output.instant(end)})"
