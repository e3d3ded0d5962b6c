"""The verifier over logs that somebody with all rights in the database has changed."""

import random
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from tests.support.audited import Audited
from tests.support.ledgers import make_database
from tests.support.tampering import COLUMNS, Attacker


@pytest.fixture
async def audited(database_url: str) -> AsyncIterator[Audited]:
    database = make_database(database_url)
    yield Audited(database_url, database)
    await database.aclose()


@pytest.mark.promise("D3")
async def test_an_edit_of_whichever_column_names_its_row(audited: Audited) -> None:
    """One edit for each column, far enough from each other that none hides another."""
    await audited.fill(writers=2, batches=3, seed=7)
    async with audited.connection() as connection:
        attacker = Attacker(connection, random.Random(7))
        await attacker.prepare()
        edited = await attacker.edit_each_column()
    report = await audited.verify()
    for done in edited:
        assert done.found_in(report), f"{done} but {report.findings}"
    assert len({done.words for done in edited}) == len(COLUMNS)


async def _tamper(audited: Audited, count: int, seed: int) -> None:
    await audited.fill(writers=2, batches=3, seed=seed)
    assert (await audited.verify()).findings == []
    kinds: Counter[str] = Counter()
    named = 0
    async with audited.connection() as connection:
        attacker = Attacker(connection, random.Random(seed))
        await attacker.prepare()
        for number in range(count):
            done = await attacker.tamper(number)
            report = await audited.verify()
            assert done.found_in(report), f"seed {seed}, number {number}: {done} but {report.findings}"
            kinds[done.words.split(",")[0]] += 1
            named += any(done.place.named_alone_by(finding) for finding in report.findings)
            await attacker.undo()
        assert (await audited.verify()).findings == []
    print(f"D3: {count} of {count} found, {named} by the row itself, the others by its stretch; {len(kinds)} kinds")


@pytest.mark.promise("D3")
@pytest.mark.parametrize("count", [32, pytest.param(64, marks=pytest.mark.full)])
async def test_whatever_is_changed_in_what_was_signed_is_found_and_named(audited: Audited, count: int) -> None:
    await _tamper(audited, count, seed=20)


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.promise("D3")
@pytest.mark.parametrize("seed", [1, 2, 3, 4])
async def test_a_thousand_changes_are_found_and_named(audited: Audited, seed: int) -> None:
    await _tamper(audited, 256, seed=seed)
