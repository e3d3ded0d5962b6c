"""What a person types, in all the ways in which it can be wrong."""

from datetime import UTC, datetime, timedelta

import pytest

from neuronetz_gateway.cli import parsing
from neuronetz_gateway.errors import InvalidRequestError

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
WHOLE_KEY = "nz_" + "A1b2C3d4E" + "s" * 32


@pytest.mark.parametrize(("text", "figure"), [("1", 1), ("1_000_000", 1_000_000), (" 42 ", 42), ("none", None)])
def test_a_bound_is_a_number_or_none(text: str, figure: int | None) -> None:
    assert parsing.bound("--tpm", text) == figure


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "many", "1e6", "9007199254740992", "_1", "1__0", "\u0661"])
def test_what_is_no_bound_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"--tpm takes a whole number from 1 .* for example --tpm 1000"):
        parsing.bound("--tpm", text)


def test_requests_are_bounded_by_what_their_column_holds() -> None:
    assert parsing.bound("--rpm", "1000000000") == 1_000_000_000
    with pytest.raises(InvalidRequestError):
        parsing.bound("--rpm", "1000000001")


def test_a_budget_of_zero_denies_everything() -> None:
    assert parsing.bounds({"daily": "0", "total": None}, least=0) == {"daily": 0}


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("0s", timedelta()),
        ("90s", timedelta(seconds=90)),
        ("30m", timedelta(minutes=30)),
        ("12H", timedelta(hours=12)),
        ("30d", timedelta(days=30)),
        ("2w", timedelta(weeks=2)),
    ],
)
def test_a_length_of_time_is_a_number_with_its_unit(text: str, length: timedelta) -> None:
    assert parsing.span("--overlap", text) == length


@pytest.mark.parametrize("text", ["", "1", "h", "1y", "-1h", "1h30m", "9999999d"])
def test_what_is_no_length_of_time_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="--overlap takes a length of time"):
        parsing.span("--overlap", text)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-12-31", datetime(2026, 12, 31, tzinfo=UTC)),
        ("2026-12-31T18:00", datetime(2026, 12, 31, 18, tzinfo=UTC)),
        ("2026-12-31T18:00:00+02:00", datetime(2026, 12, 31, 16, tzinfo=UTC)),
        ("30d", NOW + timedelta(days=30)),
    ],
)
def test_a_time_to_come_is_read_in_utc(text: str, moment: datetime) -> None:
    assert parsing.moment("--expires", text, NOW) == moment


@pytest.mark.parametrize("text", ["2026-06-01", "2026-06-01T12:00:00Z", "0d", "1999-01-01"])
def test_a_time_that_has_passed_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="--expires lies in the past"):
        parsing.moment("--expires", text, NOW)


@pytest.mark.parametrize("text", ["tomorrow", "2026-13-01", "", "31.12.2026", "9999-12-31T23:59-12:00"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="--expires takes a date"):
        parsing.moment("--expires", text, NOW)


def test_a_length_of_time_beyond_the_calendar_is_refused() -> None:
    """`--expires 999999w` once ended in an OverflowError, since no date lies so far ahead."""
    with pytest.raises(InvalidRequestError, match="36500d at most"):
        parsing.moment("--expires", "999999w", NOW)


def test_a_prefix_is_taken_as_list_keys_shows_it() -> None:
    assert parsing.prefix("--prefix", WHOLE_KEY[:12]) == WHOLE_KEY[:12]


@pytest.mark.promise("A7")
@pytest.mark.parametrize("text", [WHOLE_KEY, WHOLE_KEY[:13], WHOLE_KEY + "x"])
def test_a_whole_key_given_as_a_prefix_is_refused_without_an_echo(text: str) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        parsing.prefix("--prefix", text)
    assert text not in refusal.value.message
    assert text[3:12] not in refusal.value.message
    assert "first 12 characters" in refusal.value.message


@pytest.mark.parametrize("text", ["", "nz_short", "xx_A1b2C3d4E", "nz_A1b2C3d4-", "nz_A1b2C3d4é"])
def test_what_is_no_prefix_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="nz_ and 9 characters"):
        parsing.prefix("--prefix", text)


def test_models_are_canonical_from_the_first_moment_on() -> None:
    assert parsing.models("Qwen3, library/llama3.2:1b ,,qwen3:latest") == {"qwen3:latest", "llama3.2:1b"}
    assert parsing.models("") == frozenset()


@pytest.mark.parametrize("name", ["qwen3:cloud", "a b", "a/b/c/d", "x@sha256:0"])
def test_a_model_that_can_never_be_served_is_refused_by_name(name: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"--models: '.*' cannot be allowed: "):
        parsing.models(f"fine,{name}")


@pytest.mark.parametrize("text", ["", "  ", "a\nb", "\x1b[31m", "x" * 201])
def test_a_label_is_printable_and_bounded(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="--name takes 1 to 200 printable characters"):
        parsing.label("--name", text)


def test_a_remark_may_be_empty() -> None:
    assert parsing.remark("--reason", " ") == ""
    assert parsing.remark("--reason", " lost ") == "lost"
