"""The one table has a row for everything that a caller may be told."""

from collections.abc import Iterator

import pytest

from neuronetz_gateway import errors
from neuronetz_gateway.app import create_app
from neuronetz_gateway.cli.application import work_of
from neuronetz_gateway.cli.command_table import COMMANDS
from neuronetz_gateway.errors import GatewayError
from neuronetz_gateway.surfaces.failures import FAILURES, Failure, failure_of

NEVER_OVER_HTTP = {
    "ConflictError": "the command line's",
    "NotFoundError": "the command line's; what HTTP raises has a class of its own",
    "ForbiddenError": "what is raised has a class of its own",
    "EvictingStoreError": "ends the start of a process",
    "ReplicaStoreError": "the connection is given up, which is told as a store that is away",
    "PromptUnreadableError": "the command line's",
}
LOADED = (
    create_app,
    *(work_of(each.work) for each in COMMANDS),
)  # every module that defines an error is loaded by these
BY_CLASS = {failure.error: failure for failure in FAILURES}
COSTLY: tuple[type[GatewayError], ...] = (
    errors.BudgetExceededError,
    errors.UpstreamTimedOutError,
    errors.AnswerCutError,
    GatewayError,
)
# What the OpenAI and Anthropic SDKs repeat unless they are told otherwise (_base_client.py, _should_retry).
REPEATED = {408, 409, 429, *range(500, 600)}


def every_error(kind: type[GatewayError] = GatewayError) -> Iterator[type[GatewayError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from every_error(each)


def an_error(kind: type[GatewayError]) -> GatewayError:
    """An error of a class, whatever its constructor wants."""
    error = kind.__new__(kind)
    GatewayError.__init__(error, "m")
    return error


@pytest.mark.parametrize("kind", list(every_error()), ids=lambda kind: kind.__name__)
def test_every_error_that_a_caller_can_meet_has_a_row(kind: type[GatewayError]) -> None:
    if kind.__name__ in NEVER_OVER_HTTP:
        assert kind not in BY_CLASS
        return
    row = failure_of(an_error(kind))
    assert kind in BY_CLASS or row.error is not GatewayError, f"{kind.__name__} would be told as a defect"
    assert (kind.status, kind.code) == (row.error.status, row.error.code)


def test_what_is_never_told_exists() -> None:
    assert NEVER_OVER_HTTP.keys() <= {kind.__name__ for kind in every_error()}


def test_no_error_has_two_rows_nor_two_errors_one_code() -> None:
    assert len(BY_CLASS) == len(FAILURES)
    assert len({failure.error.code for failure in FAILURES}) == len(FAILURES)


@pytest.mark.parametrize("row", FAILURES, ids=lambda row: row.error.__name__)
def test_a_row_is_made_of_sentences(row: Failure) -> None:
    for sentence in (row.when, row.retry):
        assert sentence[0].isupper()
        assert sentence.endswith(".")


@pytest.mark.parametrize("row", FAILURES, ids=lambda row: row.error.__name__)
def test_nothing_that_costs_or_lasts_is_repeated_without_thought(row: Failure) -> None:
    """What stands in the table about retries, checked against the rule of the SDKs."""
    status = row.error.status
    repeated = row.should_retry is not False and status in REPEATED
    assert row.should_retry is not True  # what an SDK does not repeat by itself it is never told to
    if status < 500 and status not in {408, 429}:
        assert not repeated
    if row.error in COSTLY:
        assert not repeated
    if status == 503:
        assert repeated
        assert row.hint_seconds
