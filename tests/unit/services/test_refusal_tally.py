"""Refusals that share rows: none is lost in count, the rows are bounded, each says what it can."""

import asyncio
import itertools
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from neuronetz_gateway.domain.audit import RefusalEvent
from neuronetz_gateway.domain.identifier import uuid7
from neuronetz_gateway.services.refusal_recording import RefusalRecorder
from neuronetz_gateway.services.refusal_tally import RefusalTally

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
TENANT, KEY = uuid7(), uuid7()


def refusal(**changes: Any) -> RefusalEvent:
    values: dict[str, Any] = {
        "id": uuid7(), "tenant_id": TENANT, "api_key_id": KEY, "endpoint": "/api/chat", "model": "m", "request_id": "r",
        "address": "192.0.2.1", "user_agent": "a/1", "status": 429, "reason": "key.rpm", "refused_at": NOON, **changes,
    }  # fmt: skip
    return RefusalEvent(**values)


def stranger(address: str = "192.0.2.1", **changes: Any) -> RefusalEvent:
    values = {"status": 401, "reason": "invalid_api_key", "model": "", **changes}
    return refusal(tenant_id=None, api_key_id=None, address=address, **values)


def test_the_first_refusals_of_a_key_have_rows_of_their_own_in_each_window() -> None:
    tally = RefusalTally(rows_of_a_key=3)
    assert [tally.grants_own_row(refusal()) for _ in range(5)] == [True, True, True, False, False]
    assert tally.grants_own_row(refusal(api_key_id=uuid7()))
    assert not tally.grants_own_row(stranger())
    assert not tally.is_over(NOON + timedelta(seconds=59))
    assert tally.is_over(NOON + timedelta(seconds=60))
    assert tally.take() == []
    assert tally.grants_own_row(refusal(refused_at=NOON + timedelta(seconds=60)))


def test_refusals_of_one_kind_share_a_row_that_has_what_they_have_in_common() -> None:
    tally = RefusalTally(rows_of_a_key=1)
    first = refusal(request_id="first")
    tally.add(first)
    tally.add(refusal(request_id="second", user_agent="b/2", address="192.0.2.2"))
    tally.add(refusal(request_id="third", user_agent="a/1"))
    tally.add(refusal(reason="key.tpm"))
    tally.add(refusal(endpoint="/api/generate"))
    rows = tally.take()
    assert [row.occurrences for row in rows] == [3, 1, 1]
    assert (rows[0].id, rows[0].request_id, rows[0].refused_at) == (first.id, "first", NOON)
    assert (rows[0].model, rows[0].user_agent, rows[0].address) == ("m", "", "")
    assert (rows[0].tenant_id, rows[0].api_key_id, rows[0].reason) == (TENANT, KEY, "key.rpm")
    assert len(tally) == 0


@pytest.mark.parametrize(
    ("addresses", "told"),
    [
        (["192.0.2.1", "192.0.2.1"], ["192.0.2.1"]),
        (["192.0.2.1", "192.0.2.2"], ["192.0.2.1", "192.0.2.2"]),
        (["2001:db8::1", "2001:db8::1"], ["2001:db8::1"]),
        (["2001:db8::1", "2001:db8::2", "2001:db8::3"], ["2001:db8::/64"]),
        (["2001:db8::1", "2001:db8:0:1::1"], ["2001:db8::1", "2001:db8:0:1::1"]),
        (["::ffff:192.0.2.1", "192.0.2.1"], ["192.0.2.1"]),
        (["::", "::"], ["::"]),
    ],
)
def test_strangers_are_counted_by_address_and_of_ipv6_by_network(addresses: list[str], told: list[str]) -> None:
    tally = RefusalTally(rows_of_a_key=1)
    for address in addresses:
        tally.add(stranger(address))
    assert [row.address for row in tally.take()] == told


@pytest.mark.promise("D6")
@pytest.mark.parametrize("millions", [0.12, pytest.param(1, marks=pytest.mark.full)])
def test_refusals_of_a_hundred_thousand_strangers_are_few_rows_and_none_is_lost(millions: float) -> None:
    count = int(millions * 1_000_000)
    tally, rows = RefusalTally(rows_of_a_key=1), list[RefusalEvent]()
    reasons = ("invalid_api_key", "unknown_endpoint", "endpoint_blocked", "address.failures")
    events = [
        stranger(f"198.{18 + n // 65_536}.{n // 256 % 256}.{n % 256}", reason=reasons[n % 4]) for n in range(100_000)
    ]
    for minute in range(8):
        assert minute == 0 or tally.is_over(NOON + timedelta(minutes=minute))
        rows += tally.take()
        for event in itertools.islice(itertools.cycle(events), count // 8):
            tally.add(event)
        assert len(tally) == 1_004
    rows += tally.take()
    total = sum(row.occurrences for row in rows)
    print(f"D6: {total:,} refusals of {len(events):,} addresses in the tally alone: {len(rows):,} rows")
    assert total == count
    assert len(rows) <= 10_000
    assert {(row.address, row.reason) for row in rows[-4:]} == {("other", reason) for reason in reasons}


def test_past_the_most_kinds_of_keys_the_rest_of_a_reason_shares_a_row() -> None:
    tally = RefusalTally(rows_of_a_key=1, most_of_keys=2)
    keys = [UUID(int=n) for n in range(5)]
    for key in keys + keys:
        tally.add(refusal(api_key_id=key))
    rows = tally.take()
    assert [(row.api_key_id, row.occurrences) for row in rows] == [(keys[0], 2), (keys[1], 2), (None, 6)]


class _Ledger:
    """What was written; as much as it is told waits."""

    def __init__(self) -> None:
        self.rows: list[RefusalEvent] = []
        self.waiting = 0

    @property
    def occurrences(self) -> int:
        return sum(row.occurrences for row in self.rows)


def recorder_of(ledger: _Ledger, **changes: Any) -> RefusalRecorder:
    return RefusalRecorder(
        RefusalTally(rows_of_a_key=2, **changes), ledger.rows.append, waiting=lambda: ledger.waiting, now=lambda: NOON,
        most_waiting=10,
    )  # fmt: skip


def test_the_next_window_writes_what_the_last_one_counted() -> None:
    ledger = _Ledger()
    recorder = recorder_of(ledger)
    for _ in range(5):
        recorder.record(refusal())
    assert [row.occurrences for row in ledger.rows] == [1, 1]
    recorder.record(refusal(refused_at=NOON + timedelta(seconds=61)))
    assert [row.occurrences for row in ledger.rows] == [1, 1, 3, 1]


def test_what_a_reservation_may_yet_turn_up_for_is_never_counted_together() -> None:
    """Its late release looks for a row of the same id: counted together, the request would have ended twice."""
    ledger = _Ledger()
    recorder = recorder_of(ledger)
    for _ in range(5):
        recorder.record(refusal(status=503, reason="unavailable"), alone=True)
    assert len(ledger.rows) == 5


def test_while_postgres_takes_nothing_all_is_counted_until_it_does() -> None:
    ledger = _Ledger()
    recorder = recorder_of(ledger)
    ledger.waiting = 10
    for minute in range(5):
        for _ in range(100):
            recorder.record(refusal(refused_at=NOON + timedelta(minutes=minute)))
            recorder.record(stranger(refused_at=NOON + timedelta(minutes=minute)))
    assert not ledger.rows
    assert recorder.counted == 2
    ledger.waiting = 0
    recorder.record(stranger(refused_at=NOON + timedelta(minutes=6)))
    assert [row.occurrences for row in ledger.rows] == [500, 500]


async def test_closing_writes_what_was_counted_and_what_comes_after_has_its_row() -> None:
    ledger = _Ledger()
    recorder = recorder_of(ledger)
    await recorder.start()
    for _ in range(5):
        recorder.record(stranger())
    assert not ledger.rows
    await recorder.aclose()
    recorder.record(stranger())
    assert [row.occurrences for row in ledger.rows] == [5, 1]


async def test_the_end_of_a_window_is_noticed_without_another_request() -> None:
    ledger = _Ledger()
    written: list[RefusalEvent] = []
    done = asyncio.Event()

    def write(event: RefusalEvent) -> None:
        written.append(event)
        done.set()

    recorder = RefusalRecorder(
        RefusalTally(rows_of_a_key=2, window_seconds=0.05), write, waiting=lambda: ledger.waiting,
        now=lambda: datetime.now(UTC),
    )  # fmt: skip
    recorder.record(stranger(refused_at=datetime.now(UTC)))
    await recorder.start()
    await done.wait()
    await recorder.aclose()
    assert [row.occurrences for row in written] == [1]
