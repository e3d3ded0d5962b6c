"""The usage of some days: which are meant, as bars, as lines for a spreadsheet, as a document."""

import csv
import io
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from rich.table import Table
from rich.text import Text

from neuronetz_gateway.cli import output, parsing
from neuronetz_gateway.cli.records import Record
from neuronetz_gateway.domain.day_range import AskedDays
from neuronetz_gateway.errors import InvalidRequestError
from neuronetz_gateway.repositories.usage_sums import ModelUsage
from neuronetz_gateway.services.usage import PeriodUsage, UsageOverview

SHOWN_DAYS = 14
MOST_DAYS = 400
_OLDEST_DAYS = 3650
_BARS = (30, 20, 10)  # cells, the widest that fits
_COLOURS = ("green", "cyan", "magenta", "yellow", "blue", "red")
_CSV_HEAD = ("tenant", "key", "date", "model", "requests", "prompt_tokens", "output_tokens", "charged_tokens")


def asked_days(number: int, first: str | None, last: str | None) -> AskedDays:
    """What --days, --from and --to say together; raises InvalidRequestError."""
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).date()  # which it is somewhere already
    begin = None if first is None else parsing.calendar_day("--from", first)
    end = None if last is None else parsing.calendar_day("--to", last)
    for option, day in (("--from", begin), ("--to", end)):
        if day is not None and not 0 <= (tomorrow - day).days <= _OLDEST_DAYS:
            raise InvalidRequestError(f"{option} names a day of the last ten years, not one to come.")
    if begin is not None and not 0 <= ((end or tomorrow) - begin).days <= MOST_DAYS:
        raise InvalidRequestError(f"--from and --to name a day and a later one, {MOST_DAYS} days at most.")
    return AskedDays(number, begin, end)


def print_period(period: PeriodUsage) -> None:
    """Print the days as bars, then the keys that used most."""
    output.line("")
    if not period.by_day:
        output.line(f"Nothing was used from {period.days.first} to {period.days.last}.")
        return
    drawings = [_drawn(period, cells) for cells in _BARS]
    output.console().print(next((each for each in drawings if output.fits(each)), drawings[-1]))
    requests = output.count(sum(each.requests for each in period.by_day))
    tokens = output.count(sum(each.charged_tokens for each in period.by_day))
    output.line(f"From {period.days.first} to {period.days.last}: requests {requests}, tokens {tokens}.")
    if period.by_key:
        output.line("")
        output.table(
            ("!KEY", "NAME", ">REQUESTS", ">TOKENS"),
            (
                (key.prefix, key.name, output.count(key.requests), output.count(key.charged_tokens))
                for key in period.by_key
            ),
        )


def csv_text(overview: UsageOverview) -> str:
    """The days as CSV with a head; names of tenants and models have no character by which a formula begins."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(_CSV_HEAD)
    key = "" if overview.key is None else overview.key.prefix
    for each in () if overview.period is None else overview.period.by_day:
        figures = (each.requests, each.prompt_tokens, each.output_tokens, each.charged_tokens)
        writer.writerow((overview.tenant.name, key, each.day.isoformat(), each.model, *figures))
    return lines.getvalue()


def period_record(period: PeriodUsage) -> Record:
    return {
        "from": period.days.first.isoformat(),
        "to": period.days.last.isoformat(),
        "days": [
            {
                "date": each.day.isoformat(),
                "model": each.model,
                "requests": each.requests,
                "prompt_tokens": each.prompt_tokens,
                "output_tokens": each.output_tokens,
                "charged_tokens": each.charged_tokens,
            }
            for each in period.by_day
        ],
        "keys": [
            {"key": each.prefix, "name": each.name, "requests": each.requests, "charged_tokens": each.charged_tokens}
            for each in period.by_key
        ],
    }


def _drawn(period: PeriodUsage, cells: int) -> Table:
    return output.drawn_table(("!DAY", "MODEL", ">REQUESTS", ">TOKENS", "!"), _rows(period, cells))


def _rows(period: PeriodUsage, cells: int) -> Iterator[Sequence[str | Text]]:
    """A row a day and model; a day on which nothing was used has one, so that a gap is seen."""
    most = max(each.charged_tokens for each in period.by_day)
    models = sorted({each.model for each in period.by_day})
    colours = {model: _COLOURS[number % len(_COLOURS)] for number, model in enumerate(models)}
    of_day: dict[object, list[ModelUsage]] = defaultdict(list)
    for each in period.by_day:
        of_day[each.day].append(each)
    for day in period.days:
        if not of_day[day]:
            yield (day.isoformat(), "-", "-", "-", "")
        for number, each in enumerate(of_day[day]):
            yield (
                "" if number else day.isoformat(),
                each.model or "(no model)",
                output.count(each.requests),
                output.count(each.charged_tokens),
                _bar(each.charged_tokens, most, cells, colours[each.model]),
            )


def _bar(tokens: int, most: int, cells: int, colour: str) -> Text:
    """A share of the greatest figure; whatever is above 0 is seen."""
    if tokens <= 0 or most <= 0:
        return Text("")
    return Text("█" * max(1, round(cells * tokens / most)), style=colour)
