"""What tables, bars and figures look like."""

from contextlib import redirect_stdout
from datetime import UTC, datetime, timedelta, timezone

import pytest

from neuronetz_gateway.cli import output
from tests.support.commands import Terminal

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("part", "drawn"),
    [
        (0.0, "░" * 20 + " 0 %"),
        (0.001, "█" + "░" * 19 + " <1 %"),
        (0.5, "█" * 10 + "░" * 10 + " 50 %"),
        (0.999, "█" * 20 + " 99 %"),
        (1.0, "█" * 20 + " 100 %"),
        (3.5, "█" * 20 + " 350 %"),
    ],
)
def test_a_bar_shows_how_full_a_budget_is(part: float, drawn: str) -> None:
    assert output.bar(part).plain == drawn


@pytest.mark.parametrize(
    ("length", "words"),
    [
        (timedelta(seconds=-5), "0 s"),
        (timedelta(seconds=59), "59 s"),
        (timedelta(minutes=12), "12 min"),
        (timedelta(hours=5, minutes=12, seconds=30), "5 h 12 min"),
        (timedelta(hours=5), "5 h"),
        (timedelta(days=7, hours=23, minutes=59), "7 d 23 h"),
        (timedelta(days=7, minutes=59), "7 d"),
    ],
)
def test_the_way_to_a_reset_is_told_in_two_units(length: timedelta, words: str) -> None:
    assert output.ahead(NOW + length, NOW) == words


def test_moments_are_told_in_utc() -> None:
    berlin = datetime(2026, 6, 1, 14, tzinfo=timezone(timedelta(hours=2)))
    assert output.instant(berlin) == "2026-06-01 12:00 UTC"
    assert output.iso(berlin) == "2026-06-01T12:00:00Z"
    assert (output.instant(None), output.iso(None)) == ("never", None)


def test_a_table_in_a_pipe_is_cut_nowhere(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(("NAME", ">TOKENS"), [("x" * 100, "1,000")])
    printed = capsys.readouterr().out
    assert "x" * 100 in printed
    assert "\x1b" not in printed


def test_a_column_that_is_copied_from_is_never_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """In 80 columns a key's prefix, there to be copied, stood on two lines."""
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm")
    with redirect_stdout(Terminal()) as terminal:
        output.table(("!PREFIX", "NAME", "MODELS"), [("nz_A1b2C3d4E", "a long name", "llama3.2:1b, qwen3:latest")])
    assert "nz_A1b2C3d4E" in terminal.getvalue()
    assert "qwen3:latest" in terminal.getvalue()


def test_a_name_that_others_chose_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(("NAME",), [("\x1b[2J[bold]red[/bold]",)])
    output.facts([("name", "a\nb\x1b[2J")])
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "\\x1b[2J[bold]red[/bold]" in printed
    assert "a\\nb\\x1b[2J" in printed
