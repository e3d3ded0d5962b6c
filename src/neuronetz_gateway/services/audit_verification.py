"""Holds the audit log against its hashes, its chains against what was signed of them."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from datetime import date
from pathlib import Path

from neuronetz_gateway.checkpoint_signing import CheckpointKeys
from neuronetz_gateway.db.reporting import ReportingDatabase
from neuronetz_gateway.domain.chain_finding import Finding, Wrong
from neuronetz_gateway.domain.verification import MOST_FINDINGS, VerificationReport
from neuronetz_gateway.repositories.audit_chain import AuditChains
from neuronetz_gateway.repositories.chained_rows import ChainedRows
from neuronetz_gateway.services.checkpoint_book import CheckpointBook
from neuronetz_gateway.services.checkpoint_file import CheckpointFile
from neuronetz_gateway.services.day_walks import DayListings, DayWalks

_AT_ONCE = 200


class AuditVerifier:
    """Reads all rows, a day at a time, each day as of one moment; needs no right to write."""

    def __init__(self, reporting: ReportingDatabase, keys: CheckpointKeys) -> None:
        self._reporting = reporting
        self._keys = keys

    async def verify(
        self,
        *,
        since: date | None = None,
        checkpoints: Path | None = None,
        keys: CheckpointKeys | None = None,
        expecting: Callable[[int | None], None] = lambda _rows: None,
        came: Callable[[int], None] = lambda _rows: None,
    ) -> VerificationReport:
        """Everything, or of the rows those recorded on `since` (UTC) or later.

        `checkpoints` is the file of the second sink, `keys` those whose signatures count instead of our own.
        `expecting` is told about how many rows there are, `came` how many have come. Raises UnavailableError, OSError.
        """
        report = VerificationReport()
        run = _Verification(self._reporting, keys or self._keys, report, since, came)
        if checkpoints is not None:
            await run.read_file(checkpoints)
        expecting(await run.begin())
        await run.walk()
        run.finish()
        return report


class _Verification:
    """One verification under way."""

    def __init__(
        self,
        reporting: ReportingDatabase,
        keys: CheckpointKeys,
        report: VerificationReport,
        since: date | None,
        came: Callable[[int], None],
    ) -> None:
        self._reporting = reporting
        self._keys = keys
        self._report = report
        self._since = since or date.min
        self._came = came
        self._book = CheckpointBook(keys, report.found)
        self._file: CheckpointFile | None = None
        self._days: list[date] = []
        self._first_chains: date | None = None

    async def read_file(self, path: Path) -> None:
        self._file = CheckpointFile(path, self._keys, self._report.found)
        await asyncio.to_thread(self._file.read)

    async def begin(self) -> int:
        """Reads the checkpoints; about how many rows there are."""
        async with self._reporting.snapshot() as connection:
            rows = ChainedRows(connection)
            await self._take_new(AuditChains(connection))
            if self._file is not None:
                await asyncio.to_thread(self._file.finish, self._book.last_number)
            for row_id in await rows.outside(MOST_FINDINGS):
                words = f"row {row_id} stands on a day that cannot be"
                self._report.found(Finding(Wrong.ROW_OUT_OF_PLACE, words, id=row_id))
            first = await rows.first_day()
            self._first_chains = min(self._listed_days() | (set() if first is None else {first}), default=None)
            self._days = sorted({*await rows.days(), *self._listed_days()})
            return await rows.count()

    async def walk(self) -> None:
        for day in self._days:
            if day >= self._since:
                await self._day(day)

    def finish(self) -> None:
        self._book.finish()
        self._report.checkpoints = self._book.count
        self._report.dropped_days = len(self._dropped())

    def _listed_days(self) -> set[date]:
        return self._book.days | (set() if self._file is None else self._file.days)

    def _dropped(self) -> set[date]:
        return self._book.dropped | (set() if self._file is None else self._file.dropped)

    async def _take_new(self, chains: AuditChains) -> None:
        """Checkpoints that have come since, so that they are never older than the rows that are held against them."""
        while some := await chains.checkpoints(after=self._book.last_number, most=_AT_ONCE):
            for signed in some:
                self._book.take(signed)
                if self._file is not None:
                    self._file.compare(signed)
            self._report.last_checkpoint = some[-1]

    async def _day(self, day: date) -> None:
        async with self._reporting.snapshot() as connection:
            rows, chains = ChainedRows(connection), AuditChains(connection)
            await rows.hold()
            await self._take_new(chains)
            heads, listed = await rows.heads(day), await rows.listed(day)
            walks = DayWalks(day, heads, await self._listings(day, chains), self._report)
            unchained_are_wrong = self._first_chains is not None and day > self._first_chains
            async with aclosing(rows.of_day(day)) as parts:
                async for part in parts:
                    walks.take(part, unchained_are_wrong=unchained_are_wrong)
                    self._came(len(part))
                    await asyncio.sleep(0)  # a bar is drawn, Ctrl-C is heard
        if walks.rows or day not in self._dropped():
            walks.finish(listed)

    async def _listings(self, day: date, chains: AuditChains) -> DayListings:
        numbers = self._book.numbers(day)
        listed = DayListings(self._book.whole_at(day))
        for writer, listings in ({} if self._file is None else self._file.listings(day)).items():
            for listing in listings:
                listed.take(writer, listing, trusted=True)
        for begin in range(0, len(numbers), _AT_ONCE):
            some = await chains.checkpoints_numbered(numbers[begin : begin + _AT_ONCE])
            for writer, listing, trusted in self._book.listings(day, some):
                listed.take(writer, listing, trusted=trusted)
        return listed
