"""Correcting what was charged from the command line: bounded, written down, in the right windows."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from neuronetz_gateway.domain.identifier import uuid7
from tests.support.commands import Done, command
from tests.support.written_down import Book, caller_named, in_thread, open_book


@pytest.fixture
async def book(database_url: str) -> AsyncIterator[Book]:
    async with open_book(database_url, time_zone="Europe/Berlin") as book:
        yield book


async def adjusted(env_file: Path, *words: str, reason: str = "a test") -> Done:
    done: Done = await in_thread(command, "adjust-usage", *words, "--reason", reason, env_file=env_file)
    return done


async def used(book: Book) -> set[int]:
    rows = await book.world.sql(
        "select used from budget_usage where scope_id = any($1)", [book.caller.tenant_id, book.caller.api_key_id]
    )
    return {row["used"] for row in rows}


async def balanced(env_file: Path) -> bool:
    done = await in_thread(command, "audit", "reconcile", "--json", env_file=env_file)
    found: bool = json.loads(done.out)["balanced"]
    return found


async def test_an_abandoned_request_is_given_back_what_it_did_not_use(book: Book, env_file: Path) -> None:
    request = await book.abandon()
    assert await used(book) == {150}
    done = await adjusted(env_file, "--request", str(request), "--tokens", "-110", "--json", reason="saw 40 of output")
    told = done.document
    assert (told["tenant"], told["key"], told["tokens"]) == ("acme", book.caller.key_prefix, -110)
    assert [(each["scope"], each["period"]) for each in told["windows"]] == [
        (scope, period) for scope in ("tenant", "key") for period in ("daily", "monthly", "total")
    ]
    assert {(each["before_tokens"], each["after_tokens"]) for each in told["windows"]} == {(150, 40)}
    assert await used(book) == {40}
    listed = await in_thread(command, "audit", "list", "--request-id", str(request), "--json", env_file=env_file)
    correction, row = listed.document["rows"]
    assert (row["outcome"], correction["outcome"], correction["id"]) == ("abandoned", "adjusted", told["id"])
    assert (correction["charged_tokens"], correction["request_id"]) == (-110, str(request))
    assert (correction["reason"], correction["model"]) == ("saw 40 of output", "llama3:latest")
    assert correction["user_agent"].startswith("cli:")
    assert "@" in correction["user_agent"]
    assert (correction["day"], correction["month"]) == (row["day"], row["month"])
    assert await balanced(env_file)


async def test_no_more_is_given_back_than_a_request_was_charged_however_often(book: Book, env_file: Path) -> None:
    request = await book.abandon()
    await book.serve(tokens=1000)
    words = ("--request", str(request), "--tokens")
    assert (await adjusted(env_file, *words, "-100")).status == 0
    assert "stands at 50 tokens" in (await adjusted(env_file, *words, "-51")).error
    assert (await adjusted(env_file, *words, "-50")).status == 0
    assert "stands at 0 tokens" in (await adjusted(env_file, *words, "-1")).error
    assert await used(book) == {1000}
    assert await balanced(env_file)


async def test_a_correction_belongs_to_the_windows_in_which_its_request_was_charged(book: Book, env_file: Path) -> None:
    long_ago = await book.serve(tokens=90, admitted_at=datetime.now(UTC) - timedelta(days=45))
    await book.serve(tokens=10)
    await adjusted(env_file, "--request", str(long_ago), "--tokens", "-60")
    rows = await book.world.sql("select period, used from budget_usage where scope_id = $1", book.caller.tenant_id)
    assert sorted((row["period"], row["used"]) for row in rows) == [
        ("daily", 10), ("daily", 30), ("monthly", 10), ("monthly", 30), ("total", 40),
    ]  # fmt: skip
    assert await balanced(env_file)


async def test_a_correction_of_a_tenant_leaves_the_windows_of_its_keys_alone(book: Book, env_file: Path) -> None:
    await book.serve(tokens=70)
    told = await adjusted(env_file, "--tenant", "acme", "--tokens", "+1_000")
    assert told.status == 0
    assert "tenant daily" in told.out
    assert "1,070" in told.out
    assert "+1,000 tokens for tenant acme; written down as" in told.out
    rows = await book.world.sql("select scope_id, used from budget_usage")
    assert {(row["scope_id"] == book.caller.tenant_id, row["used"]) for row in rows} == {(True, 1070), (False, 70)}
    assert await balanced(env_file)


async def test_no_window_falls_below_nothing(book: Book, env_file: Path) -> None:
    await book.serve(tokens=70, admitted_at=datetime.now(UTC) - timedelta(days=45))
    await book.serve(tokens=20)
    refused = await adjusted(env_file, "--key", book.caller.key_prefix, "--tokens", "-21")
    assert "daily has 20 tokens used since" in refused.error or "monthly has 20 tokens used since" in refused.error
    assert "-21 would take it below nothing" in refused.error
    assert not await book.world.sql("select 1 from audit_log where outcome = 'adjusted'")
    assert (await adjusted(env_file, "--key", book.caller.key_prefix, "--tokens", "-20")).status == 0
    assert await balanced(env_file)


async def test_what_cannot_be_corrected_is_refused(book: Book, env_file: Path) -> None:
    served, refused, stranger = await book.serve(), await book.refuse(), await book.refuse_stranger()
    other = await caller_named(book.world, "other")
    correction = (await adjusted(env_file, "--tenant", "acme", "--tokens", "5", "--json")).document["id"]
    for words, message in {
        ("--tokens", "5"): "--tenant NAME, --key PREFIX or --request ID",
        ("--tenant", "acme", "--tokens", "0"): "--tokens takes a whole number other than 0",
        ("--tenant", "acme", "--tokens", "1e3"): "--tokens takes a whole number other than 0",
        ("--tenant", "nobody", "--tokens", "5"): "nobody",
        ("--key", "nz_unknown00", "--tokens", "5"): "nz_unknown00",
        ("--request", "first", "--tokens", "5"): "--request takes the id",
        ("--request", str(uuid7()), "--tokens", "5"): "The audit log has no row",
        ("--request", str(refused), "--tokens", "5"): "(refused) charged nothing",
        ("--request", str(stranger), "--tokens", "5"): "(refused) charged nothing",
        ("--request", correction, "--tokens", "5"): "(adjusted) charged nothing",
        ("--request", str(served), "--tenant", "other", "--tokens", "5"): "of another tenant",
        ("--request", str(served), "--key", other.key_prefix, "--tokens", "5"): "of another key",
    }.items():
        assert message in (await adjusted(env_file, *words)).error, words
    assert "--reason" in (await adjusted(env_file, "--tenant", "acme", "--tokens", "5", reason=" ")).error


async def test_usage_counts_corrected_tokens_but_no_further_request(book: Book, env_file: Path) -> None:
    """A row for a correction, one for what was done with prompts, one for refusals of a minute: none is a request."""
    request = await book.abandon()
    await book.serve(tokens=70)
    await book.refuse(occurrences=500)
    await adjusted(env_file, "--request", str(request), "--tokens", "-150")
    await adjusted(env_file, "--tenant", "acme", "--tokens", "7")
    usage: Any = (await in_thread(command, "show-usage", "--tenant", "acme", "--json", env_file=env_file)).document
    assert usage["usage"]["month"] == [
        _totals("llama3:latest", requests=2, prompt_tokens=135, output_tokens=85, charged_tokens=70),
        _totals("", charged_tokens=7),
    ]
    assert [budget["used_tokens"] for budget in usage["budgets"]][1:] == [77, 77]


def _totals(model: str, **figures: int) -> dict[str, Any]:
    return {"model": model, "requests": 0, "prompt_tokens": 0, "output_tokens": 0, "charged_tokens": 0, **figures}
