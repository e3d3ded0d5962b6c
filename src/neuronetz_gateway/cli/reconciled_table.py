"""Sums of budget windows for people: by tenant and period, with each difference in words."""

from dataclasses import dataclass
from datetime import UTC, datetime

from rich.table import Table

from neuronetz_gateway.cli import output
from neuronetz_gateway.domain.conservation import TwiceWritten, WindowSums

_PERIODS = ("daily", "monthly", "total")
type _Name = tuple[str, bool, str]  # the tenant, whether of its keys, the period


@dataclass(slots=True)
class _Sum:
    windows: int = 0
    used: int = 0
    charged: int = 0
    carried: int = 0
    reserved: int = 0
    held: int = 0
    open: int = 0
    requests: int = 0
    oldest: datetime | None = None

    def add(self, window: WindowSums) -> None:
        self.windows += 1
        self.used += window.used_tokens
        self.charged += window.charged_tokens
        self.carried += window.carried_tokens
        self.reserved += window.reserved_tokens
        self.held += window.held_tokens
        self.open += window.open
        self.requests += window.requests
        if window.oldest_open_at is not None:
            self.oldest = min(window.oldest_open_at, self.oldest or window.oldest_open_at)


class Sums:
    """Adds windows up: as many sums as there are tenants, times six, whatever the number of windows."""

    def __init__(self) -> None:
        self.by_name: dict[_Name, _Sum] = {}

    def add(self, window: WindowSums) -> None:
        name = (_tenant(window), window.key_id is not None, window.period)
        self.by_name.setdefault(name, _Sum()).add(window)


def drawn_sums(sums: Sums, now: datetime) -> Table:
    """All figures where they fit; else without those that say nothing about a difference."""
    wide = output.drawn_table(
        (
            "TENANT", "OF", "PERIOD", ">WINDOWS", ">USED", ">CHARGED", ">CARRIED", ">RESERVED", ">HELD", ">OPEN",
            "OLDEST", ">REQUESTS",
        ),
        (
            (
                *_names(name), output.count(each.windows), output.count(each.used), output.count(each.charged),
                output.count(each.carried), output.count(each.reserved), output.count(each.held),
                output.count(each.open), _age(each.oldest, now), output.count(each.requests),
            )
            for name, each in _ordered(sums)
        ),
    )  # fmt: skip
    if output.fits(wide):
        return wide
    return output.drawn_table(
        ("TENANT", "OF", "PERIOD", ">USED", ">CHARGED", ">RESERVED", ">HELD", ">OPEN"),
        (
            (
                *_names(name), output.count(each.used), output.count(each.charged + each.carried),
                output.count(each.reserved), output.count(each.held), output.count(each.open),
            )
            for name, each in _ordered(sums)
        ),
    )  # fmt: skip


def difference_words(window: WindowSums) -> str:
    """What does not agree in one window."""
    whose = f"tenant {_tenant(window)}"
    if window.key_id is not None:
        whose += f", key {window.key or window.key_id}"
    start = window.window_start
    since = " in an unknown window" if start is None else f" since {start.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    parts: list[str] = []
    if window.used_difference:
        charged = window.charged_tokens + window.carried_tokens
        parts.append(f"used {window.used_tokens:,}, charged {charged:,} ({window.used_difference:+,})")
    if window.reserved_difference:
        parts.append(
            f"reserved {window.reserved_tokens:,}, held by open requests {window.held_tokens:,} "
            f"({window.reserved_difference:+,})"
        )
    return f"DIFFERENCE {whose}, {window.period}{since}: {'; '.join(parts)}"


def twice_words(twice: TwiceWritten) -> str:
    beside = " beside an open reservation" if twice.is_open else ""
    return f"TWICE request {twice.id}: {twice.rows} {'row' if twice.rows == 1 else 'rows'}{beside}"


def _tenant(window: WindowSums) -> str:
    return window.tenant or str(window.tenant_id)


def _ordered(sums: Sums) -> list[tuple[_Name, _Sum]]:
    return sorted(sums.by_name.items(), key=lambda item: (*item[0][:2], _PERIODS.index(item[0][2])))


def _names(name: _Name) -> tuple[str, str, str]:
    tenant, of_keys, period = name
    return tenant, "its keys" if of_keys else "itself", period


def _age(oldest: datetime | None, now: datetime) -> str:
    return "-" if oldest is None else output.ahead(now, oldest)
