"""Tells where callers, upstream hits, audit rows, ledger disagree."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

from tests.support.fake_ollama import Ended, FakeOllama, Seen
from tests.support.fault_load import End, Told
from tests.support.mixed_load import number_in
from tests.support.stores import Stores
from tests.support.valid_bodies import GENERATING

NEVER_UP = {"refused", "not_forwarded"}
PERHAPS_UP = {"abandoned"}
_PERHAPS_LOST = {"abandoned", "caller_left", "upstream_broken", "upstream_timed_out", "upstream_refused", "cut"}
_HAS_OUTPUT = {endpoint.path for endpoint in GENERATING}
_ROWS = """select id, tenant_id, api_key_id, request_id, endpoint, model, outcome, status, prompt_tokens, output_tokens,
                  charged_tokens, reserved_tokens, estimated, day, month, occurrences from audit_log"""
_NO_REFUSAL = {200, 502}
_TOLD_OF_A_KIND = 5
_LOOK_SECONDS = 0.25


class Hit(NamedTuple):
    """What is kept of one request that reached the upstream."""

    number: int | None
    route: str
    status: int
    prompt_tokens: int
    output_tokens: int  # generated, of which the caller may have got less
    ended: Ended | None
    whole: bool = True  # the request came to its end

    @classmethod
    def of(cls, seen: Seen) -> "Hit":
        output = seen.tokens_generated if seen.route in _HAS_OUTPUT else 0
        return cls(number_in(seen), seen.route, seen.status, seen.prompt_tokens, output, seen.ended, seen.body_complete)


@dataclass(slots=True)
class Hits:
    """The hits of a fake; those that have ended are kept small, so that a hundred thousand have room."""

    ollama: FakeOllama
    _kept: list[Hit] = field(default_factory=list)

    def all(self) -> list[Hit]:
        hits = self.ollama.hits
        self._kept += [Hit.of(seen) for seen in hits if seen.ended is not None]
        self.ollama.requests[:] = [seen for seen in hits if seen.ended is None]
        return [*self._kept, *(Hit.of(seen) for seen in hits if seen.ended is None)]


@dataclass(slots=True)
class Books:
    """Everything that the stores and the upstream hold at one moment."""

    hits: list[Hit]
    rows: list[dict[str, Any]]  # of audit_log
    usage: list[dict[str, Any]]
    reservations: list[dict[str, Any]]

    @property
    def outcomes(self) -> Counter[str]:
        return Counter(row["outcome"] for row in self.rows)

    @property
    def charged_tokens(self) -> int:
        return sum(row["charged_tokens"] for row in self.rows)


async def read_books(stores: Stores, hits: Hits) -> Books:
    """The stores at one moment, the hits a moment later."""
    async with stores.transaction() as connection:
        await connection.execute("set transaction isolation level repeatable read")
        tables = [
            [dict(row) for row in await connection.fetch(query)]
            for query in (_ROWS, "select * from budget_usage", "select * from reservations")
        ]
    return Books(hits.all(), *tables)


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a test must allow for.

    `unwritten` names callers whose refusal need not be written down: their gateway was killed before it could be.
    `losses` says that what the gateway sent up may have been lost, wholly or in part, on the way to the upstream.
    """

    unwritten: Callable[[Told], bool] = lambda _: False
    losses: bool = False


STRICT = Allowed()


async def books_when_right(
    stores: Stores, hits: Hits, told: Sequence[Told], *, within_seconds: float, allowed: Allowed = STRICT
) -> tuple[Books, list[str]]:
    """The books as soon as nothing is wrong with them, or as they are at the end, with what is wrong then."""
    deadline = time.monotonic() + within_seconds
    while True:
        books = await read_books(stores, hits)
        wrong = problems(books, told, allowed)
        if not wrong or time.monotonic() > deadline:
            return books, wrong
        await asyncio.sleep(_LOOK_SECONDS)


def problems(books: Books, told: Sequence[Told], allowed: Allowed = STRICT) -> list[str]:
    """What is wrong, in plain words; a kind of problem is told a few times, then counted."""
    kinds = (
        _of_hits(books, allowed),
        _of_rows(books, allowed),
        _of_charges(books),
        _of_callers(books, told),
        _of_the_unwritten(books, told, allowed),
        _of_usage(books),
        _of_reservations(books),
    )
    return [line for kind in kinds for line in _shortened(kind)]


def numbered(rows: Iterable[Mapping[str, Any]]) -> dict[int, list[Mapping[str, Any]]]:
    """The rows of numbered requests."""
    found: defaultdict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        mark, _, number = row["request_id"].partition("-")
        if mark == "n" and number.isdecimal():
            found[int(number)].append(row)
    return found


def _shortened(lines: Iterator[str]) -> list[str]:
    first = list(islice(lines, _TOLD_OF_A_KIND))
    rest = sum(1 for _ in lines)
    return [*first, f"... and {rest} more like these"] if rest else first


def _of_hits(books: Books, allowed: Allowed) -> Iterator[str]:
    rows = numbered(books.rows)
    times = Counter(hit.number for hit in books.hits if hit.whole or hit.number is not None or not allowed.losses)
    for number, count in times.items():
        if number is None:
            yield f"{count} requests reached the upstream without a whole body"
        elif count > 1:
            yield f"request {number} reached the upstream {count} times"
        elif len(rows.get(number, ())) != 1:
            found = [row["outcome"] for row in rows.get(number, ())]
            yield f"request {number} reached the upstream and has {len(found)} audit rows {found}"


def _of_rows(books: Books, allowed: Allowed) -> Iterator[str]:
    went_up = {hit.number for hit in books.hits}
    perhaps_up = _PERHAPS_LOST if allowed.losses else PERHAPS_UP
    for number, rows in numbered(books.rows).items():
        if len(rows) > 1:
            yield f"request {number} has {len(rows)} audit rows: {[row['outcome'] for row in rows]}"
        for row in rows:
            outcome = row["outcome"]
            if number in went_up and outcome in NEVER_UP:
                yield f"request {number} reached the upstream, its row says {outcome}"
            if number not in went_up and outcome not in NEVER_UP | perhaps_up:
                yield f"request {number} never reached the upstream, its row says {outcome}"
            if outcome == "failed":
                yield f"request {number} met a defect of the gateway: {row}"
    for name, count in Counter(row["id"] for row in books.rows).items():
        if count > 1:
            yield f"the id {name} has {count} audit rows"


def _of_charges(books: Books) -> Iterator[str]:
    hits = {hit.number: hit for hit in books.hits}
    for number, rows in numbered(books.rows).items():
        for row in rows:
            charged, outcome, hit = row["charged_tokens"], row["outcome"], hits.get(number)
            if outcome in NEVER_UP and charged:
                yield f"request {number} is {outcome} and charged {charged} tokens"
            elif outcome == "abandoned" and charged != row["reserved_tokens"]:
                yield f"request {number} is abandoned and charged {charged} of {row['reserved_tokens']} tokens"
            elif outcome == "upstream_refused":
                if charged or (hit and hit.status == 200 and hit.ended is Ended.COMPLETED):
                    yield f"request {number} is {outcome}, charged {charged} tokens, and the upstream says {hit}"
            elif hit and charged < hit.prompt_tokens + hit.output_tokens:
                yield f"request {number} is {outcome}, charged {charged} tokens, for {hit}"


def _of_callers(books: Books, told: Sequence[Told]) -> Iterator[str]:
    hits = {hit.number: hit for hit in books.hits}
    for each in told:
        hit = hits.get(each.number)
        if each.ended is End.SILENT:
            yield f"the caller of request {each.number} waited in vain: {each}"
        if each.ended is End.WHOLE and each.status == 200:
            if hit is None:
                yield f"the caller of request {each.number} got a whole answer that the upstream never gave"
            elif hit.ended is Ended.CALLER_LEFT:
                yield f"the caller of request {each.number} got a whole answer, the upstream was left: {hit}"


def _of_the_unwritten(books: Books, told: Sequence[Told], allowed: Allowed) -> Iterator[str]:
    """Refusals of nobody known share rows that count them; everybody else has a row of his own."""
    rows = numbered(books.rows)
    unwritten = [each for each in told if each.status is not None and each.number not in rows]
    unwritten = [each for each in unwritten if not allowed.unwritten(each)]
    shared = sum(row["occurrences"] - 1 for row in books.rows if row["outcome"] == "refused")
    refused = [each for each in unwritten if each.status not in _NO_REFUSAL]
    if shared < len(refused):
        yield f"{len(refused)} refusals have no row of their own, {shared} are counted in rows that are shared"
    for each in unwritten:
        if each not in refused or shared < len(refused):
            yield f"the caller of request {each.number} got {each.status}, and there is no row: {each}"


def _of_usage(books: Books) -> Iterator[str]:
    sums: Counter[tuple[Any, str, Any]] = Counter()
    for row in books.rows:
        if row["charged_tokens"] and row["day"] is None:
            yield f"a row charges {row['charged_tokens']} tokens to no window: {row['request_id']}"
        for scope in (row["tenant_id"], row["api_key_id"]):
            for period, start in (("daily", row["day"]), ("monthly", row["month"]), ("total", None)):
                sums[scope, period, start] += row["charged_tokens"]
    for usage in books.usage:
        start = None if usage["period"] == "total" else usage["window_start"]
        charged = sums.pop((usage["scope_id"], usage["period"], start), 0)
        where = f"{usage['period']} of {usage['scope_id']} from {usage['window_start']}"
        if usage["used"] != charged:
            yield f"{where}: used {usage['used']}, charged {charged}"
        if usage["reserved"]:
            yield f"{where}: {usage['reserved']} tokens are reserved"
    for (scope, period, start), charged in sums.items():
        if charged:
            yield f"{charged} tokens charged to {period} of {scope} from {start} are in no usage row"


def _of_reservations(books: Books) -> Iterator[str]:
    for held in books.reservations:
        yield f"a reservation is left: {held['request_id']} of process {held['process_id']}, {held['admitted_at']}"
