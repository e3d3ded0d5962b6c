"""All chains of one day, held against what checkpoints list of them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date

from neuronetz_gateway.domain.audit_chain import Head
from neuronetz_gateway.domain.chain_finding import Finding, Wrong
from neuronetz_gateway.domain.chain_walk import ChainedRow, ChainWalk, Listing
from neuronetz_gateway.domain.verification import VerificationReport


class DayListings:
    """What checkpoints list of the chains of one day, by writer: that which can be trusted, how far all go.

    whole_at is the checkpoint from which on the day was over: what later ones list beyond it was put there since.
    """

    def __init__(self, whole_at: int | None) -> None:
        self.whole_at = whole_at
        self.trusted: defaultdict[str, list[Listing]] = defaultdict(list)
        self.furthest: defaultdict[str, int] = defaultdict(int)

    def take(self, writer: str, listing: Listing, *, trusted: bool) -> None:
        self.furthest[writer] = max(self.furthest[writer], listing.sequence)
        if trusted and (self.whole_at is None or listing.checkpoint <= self.whole_at):
            self.trusted[writer].append(listing)


class DayWalks:
    """The chains of one day, one after the other as their rows come."""

    def __init__(self, day: date, heads: Mapping[str, Head], listed: DayListings, report: VerificationReport) -> None:
        self._day = day
        self._heads = heads
        self._listed = listed
        self._report = report
        self._writer: str | None = None
        self._walk: ChainWalk | None = None
        self._walked: set[str] = set()
        self.rows = 0

    def take(self, rows: Sequence[ChainedRow], *, unchained_are_wrong: bool) -> None:
        self.rows += len(rows)
        self._report.rows += len(rows)
        for row in rows:
            if row.writer is None:
                self._take_unchained(row, wrong=unchained_are_wrong or row.sequence is not None)
                continue
            if row.writer != self._writer or self._walk is None:
                self._walk = self._begin(row.writer)
            self._walk.row(row)

    def finish(self, listed: Mapping[str, int]) -> None:
        """`listed` is how far the database says that checkpoints list each chain."""
        self._end()
        for writer in sorted((self._heads.keys() | self._listed.trusted.keys()) - self._walked):
            self._begin(writer)
            self._end()
        for writer, sequence in sorted(listed.items()):
            known = self._listed.furthest[writer]
            if known < sequence:
                words = (
                    f"chain {writer} of {self._day}: a checkpoint listed {sequence} rows of it, of those that are there"
                    f" none lists more than {known}"
                )
                self._report.found(Finding(Wrong.CHECKPOINT_MISSING, words, writer, self._day, known + 1, sequence))

    def _begin(self, writer: str) -> ChainWalk:
        self._end()
        self._writer = writer
        self._walked.add(writer)
        self._report.chains += 1
        head, listings = self._heads.get(writer), self._listed.trusted[writer]
        self._walk = ChainWalk(writer, self._day, head, listings, self._report.found)
        return self._walk

    def _end(self) -> None:
        walk, self._walk = self._walk, None
        if walk is not None:
            walk.end(all_are_signed=self._listed.whole_at is not None)
            self._report.unsigned_rows += walk.unsigned_rows

    def _take_unchained(self, row: ChainedRow, *, wrong: bool) -> None:
        self._report.unchained_rows += 1
        if wrong:
            words = f"row {row.id} of {self._day} is in no chain, though there were chains by then"
            self._report.found(Finding(Wrong.ROW_UNCHAINED, words, day=self._day, id=row.id))
