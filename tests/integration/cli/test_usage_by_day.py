"""What was used, day by day: as bars, as a document, as lines for a spreadsheet."""

import asyncio
import csv
import re
from contextlib import redirect_stdout
from datetime import UTC, date, datetime, timedelta
from io import StringIO
from pathlib import Path

import pytest

from neuronetz_gateway.cli.usage_days import asked_days, print_period
from neuronetz_gateway.domain.day_range import AskedDays, DayRange
from neuronetz_gateway.repositories.usage_sums import KeyUsage, ModelUsage
from neuronetz_gateway.services.usage import PeriodUsage
from tests.support.commands import Terminal, command
from tests.support.stores import Stores

TODAY = datetime.now(UTC).date()


@pytest.fixture
def today() -> date:
    """Of the test: a run that goes on past midnight has two."""
    return datetime.now(UTC).date()


@pytest.fixture
def prefixes(env_file: Path, stores: Stores) -> tuple[str, str]:
    """Two keys: the first used two models three days ago and one today, the second nothing."""
    command("create-tenant", "--name", "acme", "--allow-all-models", env_file=env_file)
    first, second = (
        command("create-key", "--tenant", "acme", "--name", name, "--quiet", env_file=env_file).out[:12]
        for name in ("one", "two")
    )

    async def use() -> None:
        await stores.execute("SELECT audit_log_ensure_partitions((now() at time zone 'UTC')::date - 5, 5)")
        for model, tokens, days in (("qwen3:latest", 800, 3), ("llama3:latest", 200, 3), ("qwen3:latest", 400, 0)):
            await stores.execute(
                """
                INSERT INTO audit_log (id, tenant_id, api_key_id, request_id, endpoint, model, outcome, status,
                    prompt_tokens, output_tokens, charged_tokens, admitted_at, address, user_agent, recorded_on)
                SELECT gen_random_uuid(), tenant_id, id, 'r', '/api/chat', $2, 'completed', 200, 100,
                    $3::bigint - 100, $3::bigint, $4::timestamptz, '127.0.0.1', '', ($4 at time zone 'UTC')::date
                FROM api_keys WHERE prefix = $1
                """,
                first,
                model,
                tokens,
                datetime.now(UTC) - timedelta(days=days),
            )

    asyncio.run(use())
    return first, second


def test_usage_is_shown_by_day_model_and_key(env_file: Path, prefixes: tuple[str, str], today: date) -> None:
    first, second = prefixes
    document = command("show-usage", "--tenant", "acme", "--json", env_file=env_file).document["period"]
    assert (document["from"], document["to"]) == (str(today - timedelta(days=13)), str(today))
    days = [(day["date"], day["model"], day["charged_tokens"]) for day in document["days"]]
    before = str(today - timedelta(days=3))
    assert days == [(before, "llama3:latest", 200), (before, "qwen3:latest", 800), (str(today), "qwen3:latest", 400)]
    assert document["keys"] == [{"key": first, "name": "one", "requests": 3, "charged_tokens": 1400}]

    lines = command("show-usage", "--key", first, "--days", "2", "--csv", env_file=env_file)
    (row,) = csv.DictReader(StringIO(lines.out))
    assert (row["tenant"], row["key"], row["date"]) == ("acme", first, str(today))
    assert (row["requests"], row["charged_tokens"]) == ("1", "400")

    words = ("show-usage", "--tenant", "acme", "--from", before, "--to", before, "--json")
    one_day = command(*words, env_file=env_file).document["period"]["days"]
    assert [day["charged_tokens"] for day in one_day] == [200, 800]

    page = command("show-usage", "--tenant", "acme", env_file=env_file).out
    assert "\x1b" not in page  # into a pipe no colours
    assert "requests 3, tokens 1,400." in page
    assert "Nothing was used" in command("show-usage", "--key", second, env_file=env_file).out


@pytest.mark.parametrize("columns", [80, 62])
def test_the_bars_fit_the_terminal_and_a_day_without_usage_is_seen(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("NO_COLOR", "1")
    days = DayRange(TODAY - timedelta(days=2), TODAY)
    used = (
        ModelUsage(days.first, "qwen3-coder:30b", 12, 1, 1, 9_876_543),
        ModelUsage(days.first, "llama3.2:1b", 1, 1, 1, 1),
        ModelUsage(days.last, "llama3.2:1b", 6, 1, 1, 4_938_271),
    )
    with redirect_stdout(Terminal()) as page:
        print_period(PeriodUsage(days, used, (KeyUsage("nz_A1b2C3d4E", "one", 19, 14_814_815),)))
    lines = re.sub(r"\x1b\[[0-9;]*m", "", page.getvalue()).splitlines()  # what is bold stays so
    assert all(len(line) <= columns for line in lines)
    assert "\x1b[3" not in page.getvalue()  # NO_COLOR is honoured
    bars = [line.count("█") for line in lines if line.count("█")]
    assert len(bars) == 3
    assert bars[1] == 1  # whatever is above nothing is seen
    assert bars[2] in {bars[0] // 2, -(-bars[0] // 2)}
    assert any(line.startswith(f"{TODAY - timedelta(days=1)}  -") for line in lines)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--from", "soon"), "--from takes a day such as 2027-01-31."),
        (("--to", "0001-01-01"), "--to names a day of the last ten years"),
        (("--from", "9999-12-31"), "--from names a day of the last ten years"),
        (("--from", str(TODAY), "--to", str(TODAY - timedelta(days=1))), "a day and a later one"),
        (("--from", str(TODAY - timedelta(days=900))), "400 days at most"),
        (("--csv", "--json"), "one of them"),
        (("--days", "0"), "--days"),
    ],
)
def test_days_that_make_no_sense_are_told_so(words: tuple[str, ...], message: str) -> None:
    assert message in command("show-usage", "--tenant", "acme", *words).error


def test_what_is_left_out_counts_back_from_the_last_day() -> None:
    assert asked_days(2, None, None).on(TODAY) == DayRange(TODAY - timedelta(days=1), TODAY)
    assert AskedDays(3, last=TODAY - timedelta(days=7)).on(TODAY).first == TODAY - timedelta(days=9)
    assert DayRange(TODAY, TODAY).moments("Asia/Kolkata")[0].hour == 18
