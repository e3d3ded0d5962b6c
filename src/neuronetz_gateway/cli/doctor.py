"""The command that checks everything that a gateway leans on."""

import asyncio
import secrets
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from rich.text import Text

from neuronetz_gateway.cli import output
from neuronetz_gateway.cli.options import AsJson, EnvFile
from neuronetz_gateway.cli.runtime import keep_stdout_for_results
from neuronetz_gateway.domain.checkup import CheckResult, Verdict, broken
from neuronetz_gateway.services.checkup import examine
from neuronetz_gateway.settings import Settings, load_settings
from neuronetz_gateway.settings_error import SettingsError

_FAILED = 1
_COLOURS = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.FAILURE: "bold red"}
# With these a gateway does not start; what else is wrong can be seen all the same.
_LENIENT = {"environment": "development"}


def doctor(as_json: AsJson = False, env_file: EnvFile = None) -> int:
    """Check settings, stores, clocks, model server, this machine; say how to mend what is wrong. Exit 1 on a failure.

    A warning is for you to judge, a failure keeps the gateway from serving or breaks a promise. Nothing is changed, no
    secret is shown, and no check takes longer than 5 seconds.
    """
    keep_stdout_for_results()
    results = _examined(env_file)
    counted = Counter(result.verdict for result in results)
    if as_json:
        output.document(
            {
                "healthy": not counted[Verdict.FAILURE],
                "failures": counted[Verdict.FAILURE],
                "warnings": counted[Verdict.WARNING],
                "checks": [_record(result) for result in results],
            }
        )
    else:
        _print(results, counted)
    return _FAILED if counted[Verdict.FAILURE] else 0


def _examined(env_file: Path | None) -> list[CheckResult]:
    """Bad settings are a result as well: the others are checked with what can be read of them."""
    first: list[CheckResult] = []
    settings: Settings | None = None
    for given in ({}, _LENIENT, _LENIENT | {"key_pepper": secrets.token_hex(32)}):
        try:
            settings = load_settings(env_file, given)
            break
        except SettingsError as error:
            first = first or [broken("settings", str(error), "mend it; .env.example names every setting")]
    if settings is None:
        return first
    results = asyncio.run(examine(settings, env_file, now=lambda: datetime.now(UTC)))
    return first + [result for result in results if not first or result.check != "settings"]


def _record(result: CheckResult) -> Mapping[str, str | None]:
    return {
        "check": result.check,
        "verdict": result.verdict.value,
        "words": result.words,
        "mend": result.mend or None,
    }


def _print(results: list[CheckResult], counted: Counter[Verdict]) -> None:
    output.table(("!CHECK", "!", "FOUND"), ((result.check, _verdict(result), _words(result)) for result in results))
    failures, warnings = counted[Verdict.FAILURE], counted[Verdict.WARNING]
    output.line("")
    if not failures and not warnings:
        output.line(f"All {len(results)} checks are fine.")
    else:
        output.line(f"{_counted(failures, 'failure')}, {_counted(warnings, 'warning')} in {len(results)} checks.")


def _verdict(result: CheckResult) -> Text:
    return Text(result.verdict.value, style=_COLOURS[result.verdict])


def _words(result: CheckResult) -> Text:
    words = Text(output.shown(result.words))
    if result.mend:
        words.append("; ").append(output.shown(result.mend), style="bold")
    return words


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
