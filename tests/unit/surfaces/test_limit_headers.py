"""The limit headers in the names and figures of each protocol."""

from datetime import UTC, datetime, timedelta

import pytest

from neuronetz_gateway.domain.standing import AxisStanding, Standing
from neuronetz_gateway.surfaces.anthropic import ANTHROPIC
from neuronetz_gateway.surfaces.limit_headers import go_duration
from neuronetz_gateway.surfaces.ollama import OLLAMA
from neuronetz_gateway.surfaces.openai import OPENAI
from neuronetz_gateway.surfaces.surface import Surface

AT = datetime(2026, 6, 1, 23, 59, 30, 500_000, tzinfo=UTC)
BOTH = Standing(AxisStanding(60, 59, 60.5), AxisStanding(200_000, 195_000, 0.0), AT)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.000_1, "1ms"),
        (0.001, "1ms"),
        (0.012, "12ms"),
        (0.1, "100ms"),
        (0.999, "999ms"),
        (0.999_5, "1s"),
        (1, "1s"),
        (1.05, "1.05s"),
        (59.5, "59.5s"),
        (59.999_001, "1m0s"),
        (60, "1m0s"),
        (60.5, "1m0.5s"),
        (61.001, "1m1.001s"),
        (600, "10m0s"),
        (3600, "1h0m0s"),
        (90_061.25, "25h1m1.25s"),
        (-1, "0s"),
    ],
)
def test_durations_are_those_of_go(seconds: float, text: str) -> None:
    """Rounded up to whole milliseconds, since whoever waits must not come early."""
    assert go_duration(seconds) == text.encode()


def test_no_duration_of_a_window_is_ever_short_or_a_millisecond_too_long() -> None:
    for microseconds in range(0, 61_000_000, 9_973):
        text = go_duration(microseconds / 1_000_000).decode()
        minutes, _, rest = text.rpartition("m") if not text.endswith("ms") else ("", "", text)
        seconds = float(rest[:-2]) / 1000 if rest.endswith("ms") else float(rest[:-1])
        told = round((int(minutes or 0) * 60 + seconds) * 1_000_000)
        assert 0 <= told - microseconds < 1000, (microseconds, text)


@pytest.mark.parametrize("surface", [OLLAMA, OPENAI], ids=["ollama", "openai"])
def test_openai_names_on_api_and_v1(surface: Surface) -> None:
    assert surface.limit_headers(BOTH) == [
        (b"x-ratelimit-limit-requests", b"60"),
        (b"x-ratelimit-remaining-requests", b"59"),
        (b"x-ratelimit-reset-requests", b"1m0.5s"),
        (b"x-ratelimit-limit-tokens", b"200000"),
        (b"x-ratelimit-remaining-tokens", b"195000"),
        (b"x-ratelimit-reset-tokens", b"0s"),
    ]


def test_anthropic_names_on_messages() -> None:
    assert ANTHROPIC.limit_headers(BOTH) == [
        (b"anthropic-ratelimit-requests-limit", b"60"),
        (b"anthropic-ratelimit-requests-remaining", b"59"),
        (b"anthropic-ratelimit-requests-reset", b"2026-06-02T00:00:31Z"),
        (b"anthropic-ratelimit-tokens-limit", b"200000"),
        (b"anthropic-ratelimit-tokens-remaining", b"195000"),
        (b"anthropic-ratelimit-tokens-reset", b"2026-06-01T23:59:31Z"),
    ]


def test_a_window_that_ends_with_a_second_is_told_to_that_second() -> None:
    at = datetime(2026, 6, 1, 12, 0, 0, 123_456, tzinfo=UTC)
    standing = Standing(AxisStanding(60, 59, 61 - 0.123_456), None, at)
    assert dict(ANTHROPIC.limit_headers(standing))[b"anthropic-ratelimit-requests-reset"] == b"2026-06-01T12:01:01Z"
    assert at + timedelta(seconds=61 - 0.123_456) == datetime(2026, 6, 1, 12, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("surface", [OLLAMA, ANTHROPIC], ids=["x", "anthropic"])
def test_only_what_has_a_limit_is_named(surface: Surface) -> None:
    one = AxisStanding(5, 0, 1.0)
    names = [name for name, _ in surface.limit_headers(Standing(one, None, AT))]
    assert len(names) == 3
    assert all(b"requests" in name for name in names)
    assert all(b"tokens" in name for name, _ in surface.limit_headers(Standing(None, one, AT)))
    assert surface.limit_headers(Standing(None, None, AT)) == []


@pytest.mark.parametrize("surface", [OLLAMA, ANTHROPIC], ids=["x", "anthropic"])
def test_a_reset_that_cannot_be_known_is_left_out(surface: Surface) -> None:
    unknown = AxisStanding(5, 3, None)
    names = [name for name, _ in surface.limit_headers(Standing(unknown, unknown, AT))]
    assert len(names) == 4
    assert not any(b"reset" in name for name in names)
