"""Budgets and the audit log agree at every moment; where they are made not to, each difference is named."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from neuronetz_gateway.domain.audit import Outcome
from neuronetz_gateway.domain.identifier import uuid7
from neuronetz_gateway.services.budgeting import BudgetLedger
from tests.support.commands import Done, command
from tests.support.ledgers import completed, make_ask, running_ledger, until
from tests.support.written_down import Book, caller_named, in_thread, open_book

_AGAIN = (
    "insert into audit_log (id, recorded_on, tenant_id, request_id, endpoint, model, outcome, status, admitted_at,"
    " address, user_agent) select id, "
)


@pytest.fixture
async def book(database_url: str) -> AsyncIterator[Book]:
    async with open_book(database_url, time_zone="Asia/Kathmandu") as book:
        yield book


async def reconciled(env_file: Path, *words: str) -> Done:
    done: Done = await in_thread(command, "audit", "reconcile", *words, env_file=env_file)
    assert done.err == ""
    return done


async def document(env_file: Path, *words: str) -> Any:
    done = await reconciled(env_file, "--json", *words)
    found = json.loads(done.out)
    assert done.status == (0 if found["balanced"] else 1)
    return found


@pytest.mark.promise("B2")
async def test_whatever_happened_both_sides_agree_in_every_window(book: Book, env_file: Path) -> None:
    other = await caller_named(book.world, "other")
    await book.serve()
    await book.serve(other, tokens=40)
    await book.serve(outcome=Outcome.NOT_FORWARDED, tokens=0)
    await book.serve(admitted_at=datetime.now(UTC) - timedelta(days=40))
    await book.refuse()
    await book.refuse_stranger()
    await book.abandon()
    await book.reserve()
    await book.reserve()
    adjusted = ("adjust-usage", "--key", book.caller.key_prefix, "--tokens", "-30", "--reason", "test")
    assert (await in_thread(command, *adjusted, env_file=env_file)).status == 0
    found = await document(env_file)
    assert found["balanced"]
    assert not found["differences"]
    assert not found["twice_written"]
    # tenant and key of each of both: daily, monthly, total; those of acme of 40 days ago besides
    assert len(found["windows"]) == 2 * 3 + 2 * 3 + 2 * 2
    [total] = [
        window for window in found["windows"]
        if (window["tenant"], window["key"], window["period"]) == ("acme", None, "total")
    ]  # fmt: skip
    assert (total["used_tokens"], total["charged_tokens"]) == (70 + 70 + 150 - 30, 70 + 70 + 150 - 30)
    assert (total["reserved_tokens"], total["held_tokens"], total["open"]) == (300, 300, 2)
    assert total["requests"] == 5
    assert {window["tenant"] for window in (await document(env_file, "--tenant", "other"))["windows"]} == {"other"}
    page = (await reconciled(env_file)).out
    assert "Balanced: 16 windows" in page


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        (
            "update budget_usage set used = used + 5 where period = 'daily' and scope_id = tenant_id",
            "tenant acme, daily since .* UTC: used 75, charged 70 \\(\\+5\\)",
        ),
        (
            "update audit_log set charged_tokens = 0 where outcome = 'completed'",
            "tenant acme, key nz_.*, total since .*: used 70, charged 0 \\(\\+70\\)",
        ),
        ("delete from audit_log where outcome = 'completed'", "monthly since .*: used 70, charged 0"),
        (
            "delete from reservations",
            "tenant acme, total since .*: reserved 150, held by open requests 0 \\(\\+150\\)",
        ),
        ("delete from budget_usage where period = 'monthly'", "monthly since .*: used 0, charged 70 \\(-70\\)"),
        (
            _AGAIN + "'2020-01-01', tenant_id, '', '', '', 'refused', 429, now(), '', '' from audit_log",
            "TWICE request .*: 2 rows$",
        ),
        (
            _AGAIN + "current_date, tenant_id, '', '', '', 'cut', 200, now(), '', '' from reservations",
            "TWICE request .*: 1 row beside an open reservation$",
        ),
    ],
)
async def test_a_difference_is_named_and_fails_the_command(
    book: Book, env_file: Path, statement: str, words: str
) -> None:
    await book.serve()
    await book.reserve()
    assert (await reconciled(env_file)).status == 0
    await book.world.sql(statement)
    done = await reconciled(env_file)
    assert done.status == 1
    assert re.search(words, done.out, re.MULTILINE), done.out
    assert "Not balanced" in done.out
    assert not (await document(env_file))["balanced"]


async def test_a_request_that_is_refused_while_its_reservation_is_being_released_has_not_ended_twice(
    book: Book, env_file: Path
) -> None:
    """Its caller was told 503 before Postgres had answered; the release finds the row of that refusal (DESIGN §5)."""
    request = await book.reserve()
    await book.refuse(id=request, status=503, reason="unavailable")
    assert (await document(env_file))["balanced"]
    await book.serve(outcome=Outcome.NOT_FORWARDED, tokens=0, id=uuid7())
    assert (await document(env_file))["balanced"]


async def test_rows_that_retention_drops_go_on_counting(book: Book, env_file: Path) -> None:
    await book.serve()
    legacy = await book.serve()
    await book.world.sql("update audit_log set day = null, month = null where id = $1", legacy)
    before = await document(env_file)
    await book.world.sql("select audit_log_drop_day((now() at time zone 'UTC')::date)")
    after = await document(env_file)
    assert after["balanced"]
    assert {window["charged_tokens"] for window in after["windows"]} == {0}
    assert [window["carried_tokens"] for window in after["windows"]] == [
        window["charged_tokens"] for window in before["windows"]
    ]


async def test_rows_of_before_windows_were_named_are_found_theirs(book: Book, env_file: Path) -> None:
    """Also where the tenant's zone was another one then: the windows themselves say when they began."""
    for days in (0, 1, 2, 35):
        await book.serve(admitted_at=datetime.now(UTC) - timedelta(days=days))
    await book.world.sql("update audit_log set day = null, month = null")
    await book.world.sql("update tenants set time_zone = 'America/Havana'")
    assert (await document(env_file))["balanced"]


@pytest.mark.promise("B2")
async def test_the_sums_hold_while_requests_come_and_go(book: Book, env_file: Path) -> None:
    stop, served = asyncio.Event(), 0

    async def load(ledger: BudgetLedger) -> None:
        nonlocal served
        while not stop.is_set():
            held = await ledger.reserve(book.caller, make_ask())
            await asyncio.sleep(0)
            ledger.settle(completed(held, served % 90))
            served += 1

    async with running_ledger(book.world.url) as one, running_ledger(book.world.url) as other:
        lanes = [asyncio.create_task(load(ledger)) for ledger in (one, other) for _ in range(20)]
        await until(lambda: _is(served > 0))
        found = [await document(env_file) for _ in range(6)]
        stop.set()
        await asyncio.gather(*lanes)
    print(f"reconcile: balanced {len(found)} times while {served} requests came and went")
    assert all(each["balanced"] for each in found)
    assert len({each["windows"][-1]["used_tokens"] for each in found[1:]}) > 1
    assert any(each["windows"][-1]["open"] for each in found[1:])


async def _is(holds: bool) -> bool:
    return holds
