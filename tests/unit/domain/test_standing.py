"""What is left of limits, with a request on them, without it."""

from datetime import UTC, datetime

import pytest

from neuronetz_gateway.domain.limit import Limits
from neuronetz_gateway.domain.standing import AxisStanding, ScopeStanding, Standing, WindowUse

AT = datetime(2026, 6, 1, 12, tzinfo=UTC)


def standing(requests_left: int = 40, tokens_left: int = 700) -> Standing:
    return Standing(AxisStanding(60, requests_left, 60.5), AxisStanding(1_000, tokens_left, 60.5), AT)


@pytest.mark.promise("L2")
def test_an_undone_request_is_on_no_axis() -> None:
    ended = standing().ended(200, None)
    assert ended == Standing(AxisStanding(60, 41, None), AxisStanding(1_000, 900, None), AT)


@pytest.mark.promise("L2")
def test_where_the_undone_request_was_the_only_one_all_is_left_now() -> None:
    ended = standing(59, 800).ended(200, None)
    assert ended == Standing(AxisStanding(60, 60, 0.0), AxisStanding(1_000, 1_000, 0.0), AT)


@pytest.mark.promise("L3")
def test_a_request_that_was_charged_stays_counted_with_what_it_took() -> None:
    assert standing().ended(200, 50) == Standing(AxisStanding(60, 40, 60.5), AxisStanding(1_000, 850, 60.5), AT)
    assert standing().ended(200, 200) == standing()
    assert standing().ended(200, 2_000).tokens == AxisStanding(1_000, 0, 60.5)


def test_a_request_that_took_nothing_stays_counted_as_a_request() -> None:
    assert standing().ended(200, 0) == Standing(AxisStanding(60, 40, 60.5), AxisStanding(1_000, 900, None), AT)


def test_an_axis_without_a_limit_stays_without() -> None:
    assert Standing(None, None, AT).ended(10, None) == Standing(None, None, AT)


def test_a_request_without_tokens_changes_none_by_being_undone() -> None:
    assert standing().ended(0, None).tokens == standing().tokens


def test_use_is_held_against_the_limits_of_its_scope() -> None:
    use = WindowUse(requests=3, requests_reset_seconds=4.5, tokens=900, tokens_reset_seconds=0.0, concurrent=2)
    assert use.held_against(Limits(rpm=2, concurrent=5, output_cap=7)) == ScopeStanding(
        rpm=AxisStanding(2, 0, 4.5), tpm=None, concurrent=AxisStanding(5, 3, None), output_cap=7
    )
