"""Reading the audit log from the command line: as a table, as documents, as files."""

import asyncio
import csv
import io
import json
import os
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import redirect_stdout
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from rich.text import Text

from neuronetz_gateway.cli.audit import list_rows
from neuronetz_gateway.cli.audit_records import COLUMNS, csv_lines
from neuronetz_gateway.domain.audit import Outcome
from neuronetz_gateway.repositories.audit_rows import AuditRow
from tests.support.commands import Done, Terminal, command
from tests.support.gateways import COMMAND
from tests.support.written_down import Book, caller_named, in_thread, open_book

HOSTILE = "=cmd|' /C calc'!A0"


def newest(*ids: UUID) -> list[str]:
    """The order of ids, which is that of time to the millisecond: within one there is none."""
    return [str(each) for each in sorted(ids, reverse=True)]


@pytest.fixture
async def book(database_url: str) -> AsyncIterator[Book]:
    async with open_book(database_url) as book:
        yield book


async def run(*words: str, env_file: Path) -> Done:
    done: Done = await in_thread(command, "audit", *words, env_file=env_file)
    return done


async def listed(*words: str, env_file: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = (await run("list", *words, "--json", env_file=env_file)).document["rows"]
    return rows


async def test_rows_are_listed_the_newest_first_with_every_column(book: Book, env_file: Path) -> None:
    first = await book.serve(tokens=70)
    second = await book.refuse()
    third = await book.refuse_stranger(occurrences=17, address="2001:db8::/64")
    rows = await listed(env_file=env_file)
    assert [row["id"] for row in rows] == newest(first, second, third)
    rows.sort(key=lambda row: [str(third), str(second), str(first)].index(row["id"]))
    assert all(tuple(row) == COLUMNS for row in rows)
    served = rows[2]
    assert (served["tenant"], served["key"]) == ("acme", book.caller.key_prefix)
    assert (served["outcome"], served["status"], served["charged_tokens"]) == ("completed", 200, 70)
    assert served["day"].endswith("T00:00:00Z")
    assert len(bytes.fromhex(served["hash"])) == 32
    assert (rows[0]["tenant"], rows[0]["occurrences"]) == (None, 17)
    assert [row["id"] for row in await listed("--limit", "2", env_file=env_file)] == newest(first, second, third)[:2]


async def test_every_filter_finds_what_it_names(book: Book, env_file: Path) -> None:
    other = await caller_named(book.world, "other")
    served = await book.serve()
    old = await book.serve(admitted_at=datetime.now(UTC) - timedelta(days=3))
    others = await book.serve(other, model="qwen3:8b", request_id="mine", outcome=Outcome.CALLER_LEFT)
    refused = await book.refuse()
    failed = await book.refuse_stranger(address="2001:db8::/64")
    found = {
        ("--tenant", "other"): [others],
        ("--key", other.key_prefix): [others],
        ("--outcome", "caller_left"): [others],
        ("--status", "429"): [refused],
        ("--model", "QWEN3:8B"): [others],
        ("--model", "no/such/model/at/all"): [],
        ("--request-id", "mine"): [others],
        ("--request-id", str(served)): [served],
        ("--address", "2001:db8::77"): [failed],
        ("--address", "192.0.2.1"): [refused, others, old, served],
        ("--since", "1h"): [failed, refused, others, served],
        ("--until", "1d"): [old],
        ("--since", "2020-01-01", "--until", f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%d}"): [old],
        ("--tenant", "acme", "--outcome", "completed", "--since", "1d"): [served],
    }
    for words, ids in found.items():
        assert [row["id"] for row in await listed(*words, env_file=env_file)] == newest(*ids), words
    assert "Nothing of the kind" in (await run("list", "--status", "599", env_file=env_file)).err


async def test_a_filter_that_cannot_be_is_told_in_one_line(book: Book, env_file: Path) -> None:
    del book
    for words, message in {
        ("--since", "yesterday"): "--since takes a date",
        ("--outcome", "gone"): "--outcome",
        ("--tenant", "nobody"): "nobody",
        ("--key", "nz_unknown00"): "nz_unknown00",
        ("--tenant", "a", "--key", "nz_unknown00"): "not both",
    }.items():
        assert message in (await run("list", *words, env_file=env_file)).error, words


@pytest.mark.parametrize("columns", [60, 80, 120, 240])
async def test_the_table_fits_the_terminal(
    book: Book, env_file: Path, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    await book.serve()
    await book.refuse_stranger(occurrences=1234, address="2001:db8:ffff:ffff::/64")
    terminal = Terminal()
    with redirect_stdout(terminal):
        await in_thread(list_rows, env_file=env_file)
    lines = Text.from_ansi(terminal.getvalue()).plain.splitlines()
    assert all(len(line) <= columns for line in lines)
    whole = " ".join(" ".join(lines).split())
    assert book.caller.key_prefix in whole or columns < 80
    assert "401" in whole
    assert "70" in whole


async def test_an_export_has_every_row_in_order_with_every_column(book: Book, env_file: Path, tmp_path: Path) -> None:
    ids = [await book.serve() for _ in range(3)] + [await book.refuse(), await book.refuse_stranger()]
    lines = (await run("export", env_file=env_file)).out.splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["id"] for row in rows] == newest(*ids)[::-1]
    assert all(tuple(row) == COLUMNS for row in rows)
    file = tmp_path / "all.jsonl"
    told = (await run("export", "--output", str(file), "--json", env_file=env_file)).document
    assert told == {"file": str(file), "rows": 5}
    assert file.read_text().splitlines() == lines
    assert file.stat().st_mode & 0o777 == 0o600
    only = await run("export", "--tenant", "acme", "--outcome", "refused", env_file=env_file)
    assert len(only.out.splitlines()) == 1


async def test_a_file_that_is_there_is_replaced_by_force_alone_and_only_as_a_whole(
    book: Book, env_file: Path, tmp_path: Path
) -> None:
    await book.serve()
    file = tmp_path / "all.csv"
    file.write_text("mine")
    words = ("export", "--format", "csv", "--output", str(file))
    assert "exists already; --force replaces it" in (await run(*words, env_file=env_file)).error
    assert "nobody" in (await run(*words, "--force", "--tenant", "nobody", env_file=env_file)).error
    assert file.read_text() == "mine"
    assert "1 rows" in (await run(*words, "--force", env_file=env_file)).out
    assert file.read_text().startswith("tenant,key,id,")
    assert sorted(os.listdir(tmp_path)) == ["all.csv", "test.env"]  # noqa: PTH208 - names are what is compared
    assert "is a folder" in (await run("export", "--output", str(tmp_path), env_file=env_file)).error


@pytest.mark.promise("D4")
async def test_what_a_caller_calls_itself_runs_in_no_spreadsheet_and_breaks_no_line(book: Book, env_file: Path) -> None:
    agents = [HOSTILE, "+1", "-1", "@SUM(A1)", 'a,"b"\n=c', "\x1b[2J", "\u202egpj", "\ttab", "plain"]
    for agent in agents:
        await book.refuse(user_agent=agent)
    page = (await run("export", "--format", "csv", env_file=env_file)).out
    assert len(page.splitlines()) == 1 + len(agents)
    assert page.replace("\n", "").isprintable()
    told = {row["user_agent"] for row in csv.DictReader(io.StringIO(page))}
    assert told == {
        f"'{HOSTILE}", "'+1", "'-1", "'@SUM(A1)", 'a,"b"\\n=c', "\\x1b[2J", "\\u202egpj", "\\ttab", "plain",
    }  # fmt: skip
    lines = (await run("export", env_file=env_file)).out.splitlines()
    assert {json.loads(line)["user_agent"] for line in lines} == set(agents)  # as it is, for whoever checks hashes
    assert all(line.isascii() and line.isprintable() for line in lines)


def test_figures_below_nothing_are_no_formulas() -> None:
    """A correction of -5 tokens is a number to a spreadsheet, which an apostrophe would make a text."""
    values: dict[str, Any] = dict.fromkeys(COLUMNS, "") | {"charged_tokens": -5, "estimated": True, "hash": None}
    assert csv_lines([AuditRow(**values)]).count("'") == 0
    assert ",-5,true," in csv_lines([AuditRow(**values)])


async def test_a_reader_who_has_seen_enough_ends_an_export_quietly(book: Book, env_file: Path) -> None:
    await _fill(book, 3_000)
    ended = await asyncio.to_thread(
        subprocess.run,
        ["bash", "-o", "pipefail", "-c", f"'{COMMAND}' audit export --env-file '{env_file}' | head -n 3"],
        capture_output=True, text=True, check=False, timeout=60, env={"PATH": os.environ["PATH"]},
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, "")
    assert len(ended.stdout.splitlines()) == 3


async def test_an_export_takes_the_same_memory_however_many_rows_there_are(book: Book, env_file: Path) -> None:
    peaks = []
    for rows in (1_000, 20_000):
        await _fill(book, rows)
        measure = f"import resource, subprocess, sys; subprocess.run([{COMMAND!r}, 'audit', 'export', '--env-file',"
        measure += f" {str(env_file)!r}], stdout=subprocess.DEVNULL, check=True);"
        measure += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        ended = await asyncio.to_thread(
            subprocess.run, ["python3", "-c", measure], capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        peaks.append(int(ended.stdout) // 1024)
    print(f"audit export: peak of {peaks[0]} MiB for 1,000 rows, {peaks[1]} MiB for 21,000")
    assert peaks[1] - peaks[0] <= 16


async def _fill(book: Book, rows: int) -> None:
    await book.world.sql(
        """
        insert into audit_log (id, tenant_id, api_key_id, request_id, endpoint, model, outcome, status, admitted_at,
                               address, user_agent)
        select gen_random_uuid(), $2, $3, 'r', '/api/chat', 'm', 'completed', 200, now(), '192.0.2.1', repeat('x', 100)
        from generate_series(1, $1::integer)
        """,
        rows, book.caller.tenant_id, book.caller.api_key_id,
    )  # fmt: skip


async def test_each_day_is_looked_into_also_one_without_a_partition(book: Book, env_file: Path) -> None:
    today = await book.serve()
    for number, day in enumerate(("2020-02-29", "2099-01-01")):
        await book.world.sql(
            """
            insert into audit_log (id, recorded_on, request_id, endpoint, model, outcome, status, admitted_at, address,
                                   user_agent)
            values ($1, $2::text::date, '', '', '', 'refused', 401, now(), '', '')
            """,
            f"00000000-0000-0000-0000-00000000000{number}", day,
        )  # fmt: skip
    days = [row["recorded_on"] for row in await listed(env_file=env_file)]
    assert days == ["2099-01-01", f"{datetime.now(UTC):%Y-%m-%d}", "2020-02-29"]
    lines = (await run("export", env_file=env_file)).out.splitlines()
    assert [json.loads(line)["recorded_on"] for line in lines] == days[::-1]
    assert json.loads(lines[1])["id"] == str(today)
    assert re.fullmatch(r"[0-9a-f]{64}", json.loads(lines[1])["hash"])
