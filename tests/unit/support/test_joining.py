"""The checker itself: books that are right pass, each way of being wrong is told."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from tests.support.fake_ollama import Ended
from tests.support.fault_load import End, Told
from tests.support.joining import Allowed, Books, Hit, problems

TENANT, KEY = UUID(int=1), UUID(int=2)
DAY, MONTH = datetime(2026, 11, 23, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)
EPOCH = datetime.fromtimestamp(0, UTC)


def row(number: int, outcome: str, charged: int = 0, **changes: Any) -> dict[str, Any]:
    return {
        "id": UUID(int=100 + number),
        "tenant_id": TENANT,
        "api_key_id": KEY,
        "request_id": f"n-{number}",
        "outcome": outcome,
        "charged_tokens": charged,
        "reserved_tokens": 50,
        "day": DAY,
        "month": MONTH,
        "occurrences": 1,
        **changes,
    }


def hit(number: int | None, **changes: Any) -> Hit:
    return Hit(number, "/api/chat", 200, 5, 7, Ended.COMPLETED)._replace(**changes)


def used(tokens: int, reserved: int = 0) -> list[dict[str, Any]]:
    windows = (("daily", DAY), ("monthly", MONTH), ("total", EPOCH))
    return [
        {"scope_id": scope, "period": period, "window_start": start, "used": tokens, "reserved": reserved}
        for scope in (TENANT, KEY)
        for period, start in windows
    ]


def told(number: int, status: int | None, ended: End = End.WHOLE) -> Told:
    return Told(number, member=0, status=status, ended=ended)


RIGHT = Books(
    hits=[
        hit(0),
        hit(1, ended=Ended.CALLER_LEFT),
        hit(4, status=404, output_tokens=0),
        hit(5, ended=Ended.CALLER_LEFT),
    ],
    rows=[
        row(0, "completed", 12),
        row(1, "caller_left", 15),
        row(2, "refused", day=None, month=None),
        row(3, "not_forwarded"),
        row(4, "upstream_refused"),
        row(5, "abandoned", 50),
        row(6, "abandoned", 50),
    ],
    usage=used(127),
    reservations=[],
)
TOLD = [told(0, 200), told(1, 200, End.LEFT), told(2, 429), told(3, 502), told(5, 200, End.BROKEN), told(7, None)]


def test_right_books_have_no_problem() -> None:
    assert problems(RIGHT, TOLD) == []


def with_hit(number: int | None) -> Books:
    return replace(RIGHT, hits=[*RIGHT.hits, hit(number)])


def with_row(number: int, outcome: str, charged: int = 0, **changes: Any) -> Books:
    rows = [each for each in RIGHT.rows if each["request_id"] != f"n-{number}"]
    rows.append(row(number, outcome, charged, **changes))
    return replace(RIGHT, rows=rows, usage=used(sum(each["charged_tokens"] for each in rows)))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: with_hit(8), "request 8 reached the upstream and has 0 audit rows"),
        (lambda: with_hit(0), "request 0 reached the upstream 2 times"),
        (lambda: with_hit(None), "1 requests reached the upstream without a whole body"),
        (lambda: with_row(0, "refused"), "its row says refused"),
        (lambda: with_row(0, "not_forwarded"), "its row says not_forwarded"),
        (lambda: with_row(9, "completed", 12), "request 9 never reached the upstream"),
        (lambda: with_row(0, "completed", 11), "charged 11 tokens, for Hit"),
        (lambda: with_row(5, "abandoned", 49), "abandoned and charged 49 of 50"),
        (lambda: with_row(3, "not_forwarded", 1), "not_forwarded and charged 1"),
        (lambda: with_row(0, "upstream_refused"), "is upstream_refused"),
        (lambda: with_row(0, "completed", 12, day=None), "to no window"),
        (lambda: with_row(0, "failed", 12), "a defect of the gateway"),
        (lambda: replace(RIGHT, rows=[*RIGHT.rows, row(3, "refused")]), "request 3 has 2 audit rows"),
        (lambda: replace(RIGHT, usage=used(126)), "used 126, charged 127"),
        (lambda: replace(RIGHT, usage=used(127, 1)), "1 tokens are reserved"),
        (lambda: replace(RIGHT, usage=used(127)[1:]), "are in no usage row"),
        (
            lambda: replace(RIGHT, reservations=[{"request_id": "n-1", "process_id": KEY, "admitted_at": DAY}]),
            "a reservation is left: n-1",
        ),
    ],
)
def test_wrong_books_are_told(wrong: Callable[[], Books], words: str) -> None:
    assert words in "\n".join(problems(wrong(), TOLD))


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (told(8, 200, End.BROKEN), "got 200, and there is no row"),
        (told(8, 200), "a whole answer that the upstream never gave"),
        (told(1, 200), "a whole answer, the upstream was left"),
        (told(0, None, End.SILENT), "waited in vain"),
    ],
)
def test_callers_who_saw_what_cannot_be_are_told(seen: Told, words: str) -> None:
    assert words in "\n".join(problems(RIGHT, [seen]))


def test_an_excused_caller_needs_no_row() -> None:
    assert problems(RIGHT, [told(8, 503)], Allowed(unwritten=lambda each: each.status == 503)) == []


def test_refusals_may_share_a_row_that_counts_them() -> None:
    callers = [*TOLD, told(8, 503), told(9, 503)]
    assert problems(with_row(2, "refused", occurrences=3, day=None), callers) == []
    assert problems(with_row(2, "refused", occurrences=2, day=None), callers)[0].startswith("2 refusals have no row")
    assert problems(with_row(2, "refused", occurrences=9, day=None), [*callers, told(10, 200, End.BROKEN)])


def test_where_the_way_up_may_lose_bytes_a_row_needs_no_hit() -> None:
    books = with_row(9, "upstream_broken", 12)
    half = replace(books, hits=[*books.hits, hit(None, whole=False)])
    assert problems(half, TOLD, Allowed(losses=True)) == []
    assert len(problems(half, TOLD)) == 2
    assert problems(with_row(9, "completed", 12), TOLD, Allowed(losses=True))


def test_many_problems_of_a_kind_are_counted() -> None:
    books = replace(RIGHT, hits=[*RIGHT.hits, *map(hit, range(10, 20))])
    wrong = problems(books, TOLD)
    assert len(wrong) == 6
    assert wrong[-1] == "... and 5 more like these"
