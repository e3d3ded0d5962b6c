"""The command that holds budgets and the audit log against each other."""

import json
from collections.abc import Sequence

from neuronetz_gateway.cli import output
from neuronetz_gateway.cli.opened_reports import reconciliation
from neuronetz_gateway.cli.options import AsJson, EnvFile, TenantScope
from neuronetz_gateway.cli.progress import waiting
from neuronetz_gateway.cli.reconciled_table import Sums, difference_words, drawn_sums, twice_words
from neuronetz_gateway.cli.records import Record
from neuronetz_gateway.cli.runtime import run
from neuronetz_gateway.domain.conservation import TwiceWritten, WindowSums
from neuronetz_gateway.services.reconciliation import Reconciled, Reconciliation

_DIFFERS = 1


def reconcile(tenant: TenantScope = None, as_json: AsJson = False, env_file: EnvFile = None) -> int:
    """Hold what budgets say was used and reserved against what the audit log and open requests say.

    They agree at every moment, also under load; exits 1 and names each difference where they do not. Here windows are
    summed by tenant and period, --json has each.
    """
    if as_json:
        return _documented(tenant, env_file)
    sums = Sums()

    async def work(budgets_and_rows: Reconciliation) -> Reconciled:
        return await budgets_and_rows.reconcile(tenant, sums.add)

    with waiting("Reconciling"):
        found = run(reconciliation, work, env_file)
    if found.windows:
        output.console().print(drawn_sums(sums, found.at))
    _tell(found)
    return 0 if found.is_balanced else _DIFFERS


def _documented(tenant: str | None, env_file: EnvFile) -> int:
    """One document, written as it comes: windows can be many."""
    pieces = _Pieces()

    async def work(budgets_and_rows: Reconciliation) -> Reconciled:
        return await budgets_and_rows.reconcile(tenant, pieces.add)

    found = run(reconciliation, work, env_file)
    pieces.end(
        {
            "at": output.iso(found.at),
            "balanced": found.is_balanced,
            "differing_windows": found.differing_windows,
            "differences": [window_record(window) for window in found.differences],
            "twice_written": [_twice_record(twice) for twice in found.twice_written],
        }
    )
    return 0 if found.is_balanced else _DIFFERS


class _Pieces:
    """A JSON object whose first member is a list that nobody holds whole."""

    def __init__(self) -> None:
        self._before = '{"windows":['

    def add(self, window: WindowSums) -> None:
        print(self._before, json.dumps(window_record(window)), sep="", end="")
        self._before = ","

    def end(self, rest: Record) -> None:
        print("" if self._before == "," else self._before, "],", json.dumps(rest)[1:], sep="", flush=True)


def window_record(window: WindowSums) -> Record:
    return {
        "tenant": window.tenant,
        "tenant_id": str(window.tenant_id),
        "key": window.key,
        "key_id": None if window.key_id is None else str(window.key_id),
        "period": window.period,
        "window_start": output.iso(window.window_start),
        "used_tokens": window.used_tokens,
        "charged_tokens": window.charged_tokens,
        "carried_tokens": window.carried_tokens,
        "reserved_tokens": window.reserved_tokens,
        "held_tokens": window.held_tokens,
        "open": window.open,
        "oldest_open_at": output.iso(window.oldest_open_at),
        "requests": window.requests,
        "used_difference": window.used_difference,
        "reserved_difference": window.reserved_difference,
    }


def _twice_record(twice: TwiceWritten) -> Record:
    return {"id": str(twice.id), "rows": twice.rows, "open": twice.is_open}


def _tell(found: Reconciled) -> None:
    _lines([difference_words(window) for window in found.differences], found.differing_windows)
    _lines([twice_words(twice) for twice in found.twice_written], len(found.twice_written))
    at = output.iso(found.at)
    if found.is_balanced:
        output.line(f"Balanced: {found.windows:,} windows, as of {at}.")
    else:
        output.line(
            f"Not balanced: {found.differing_windows:,} of {found.windows:,} windows differ, "
            f"{len(found.twice_written):,} requests ended twice, as of {at}."
        )


def _lines(lines: Sequence[str], all_of_them: int) -> None:
    for line in lines:
        output.line(output.shown(line))
    if all_of_them > len(lines):
        output.line(f"... and {all_of_them - len(lines):,} more.")
