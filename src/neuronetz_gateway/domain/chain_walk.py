"""Walks along one audit chain, row by row, telling what does not hold."""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date

from neuronetz_gateway.domain.audit_chain import NO_HASH, Head, linked_hash, row_text
from neuronetz_gateway.domain.chain_finding import Finding, Wrong


@dataclass(frozen=True, slots=True, order=True)
class Listing:
    """What a checkpoint says of a chain: the hash of one of its rows."""

    sequence: int
    checkpoint: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class ChainedRow:
    """One row: the values of its text in their order (those of a moment in microseconds), beside its hash.

    writer, sequence are None in a row that is in no chain.
    """

    writer: str | None
    sequence: int | None
    id: str
    values: tuple[str | int | bool | None, ...]
    hash: bytes | None


class ChainWalk:
    """Takes the rows of one chain in their order, then its end; holds no row.

    A row whose hash does not follow is told of as changed. Whoever computes hashes anew from a changed row on gives
    himself away at the next row whose hash was left as it was, or else where a checkpoint lists another hash: what was
    changed then lies between there and the last row for which a checkpoint vouches.
    """

    def __init__(
        self, writer: str, day: date, head: Head | None, listings: Iterable[Listing], found: Callable[[Finding], None]
    ) -> None:
        self._writer, self._day = writer, day
        self._head = head
        self._listings = deque(sorted(listings))
        self._listed = self._listings[-1] if self._listings else None
        self._found = found
        self._last = 0  # the sequence of the last row that came
        self._last_id: str | None = None
        self._before: tuple[bytes, ...] = (NO_HASH,)  # what its hash may be; empty where nobody can know
        self._contradicted = False
        self._told = False
        self.vouched = 0  # the last row that a checkpoint vouches for

    @property
    def unsigned_rows(self) -> int:
        """How many rows have come behind the last that a checkpoint vouches for."""
        return self._last - self.vouched

    def row(self, row: ChainedRow) -> None:
        sequence = row.sequence
        if sequence is None or sequence <= self._last:
            words = "has no place in it" if sequence is None else f"claims the place {sequence}, which is taken"
            self._tell(Wrong.ROW_OUT_OF_PLACE, f"row {row.id} {words}", sequence=sequence, row_id=row.id)
            return
        if sequence > self._last + 1:
            self._miss(sequence - 1, "")
        text = row_text(row.values)
        expected = tuple(linked_hash(each, text) for each in self._before)
        held = row.hash or b""
        self._last, self._last_id = sequence, row.id
        if not expected or held in expected:
            self._before = (held,)
        else:
            self._tell(
                Wrong.ROW_CHANGED,
                f"row {sequence} ({row.id}) is not what its hash was made of: it was changed{self._or_those_before()}",
                first=self.vouched + 1,
                sequence=sequence,
                row_id=row.id,
            )
            # Either is what the next row was made upon: its hash was left alone, or it is its hash that was changed.
            self._before = (held, *expected)
        self._compare(held, expected)

    def end(self, *, all_are_signed: bool) -> None:
        """To be called behind the last row; `all_are_signed`: a checkpoint was written when no more could come."""
        head, listed = self._head, self._listed
        self._end_at(head)
        if listed is not None and listed.sequence > max(self._last, 0 if head is None else head.sequence):
            self._miss(listed.sequence, f": checkpoint {listed.checkpoint} lists {listed.sequence} rows")
        elif head is not None and head.sequence > self._last:
            self._miss(head.sequence, f": its head speaks of {head.sequence} rows")
        if all_are_signed and self.unsigned_rows and not self._told:
            words = f"rows {self.vouched + 1} to {self._last} were put there after their day had been signed as over"
            self._tell(Wrong.ROWS_UNSIGNED, words, first=self.vouched + 1, sequence=self._last, row_id=self._last_id)

    def _end_at(self, head: Head | None) -> None:
        if head is None:
            self._tell(Wrong.HEAD_DIFFERS, "it has no head", sequence=self._last, row_id=self._last_id)
        elif head.sequence < self._last:
            words = f"rows {head.sequence + 1} to {self._last} stand behind its head"
            self._tell(Wrong.HEAD_DIFFERS, words, first=head.sequence + 1, sequence=self._last, row_id=self._last_id)
        elif head.sequence == self._last and self._before and head.hash not in self._before:
            words = f"its head has another hash than its last row, {self._last} ({self._last_id})"
            self._tell(
                Wrong.HEAD_DIFFERS,
                f"{words}: one of the two was changed{self._or_those_before()}",
                first=self.vouched + 1,
                sequence=self._last,
                row_id=self._last_id,
            )

    def _compare(self, held: bytes, expected: tuple[bytes, ...]) -> None:
        """Holds the row that came last against the checkpoints that list it."""
        while self._listings and self._listings[0].sequence <= self._last:
            listing = self._listings.popleft()
            if listing.hash == held or listing.hash in expected:
                self.vouched, self._contradicted, self._before = self._last, False, (listing.hash,)
                continue
            if not self._contradicted:  # all that follow are made upon this one, so that each would be told of
                self._tell(
                    Wrong.CHECKPOINT_DIFFERS,
                    f"checkpoint {listing.checkpoint} lists another hash for row {self._last} ({self._last_id}): it"
                    f"{self._or_those_before()} was changed, with the hashes from there on",
                    first=self.vouched + 1,
                    sequence=self._last,
                    row_id=self._last_id,
                    checkpoint=listing.checkpoint,
                )
            self._contradicted = True
            self._before = (*self._before, listing.hash)

    def _miss(self, last: int, why: str) -> None:
        first, moved = self._last + 1, ""
        if self.vouched < self._last:
            moved = f" (or others of rows {self.vouched + 1} to {last}, if those behind them were moved up)"
        what = f"row {first} is" if first == last else f"rows {first} to {last} are"
        self._tell(Wrong.ROWS_MISSING, f"{what} missing{moved}{why}", first=self.vouched + 1, sequence=last)
        listings = [self._listings.popleft() for _ in range(len(self._listings)) if self._listings[0].sequence <= last]
        self._before = tuple(listing.hash for listing in listings if listing.sequence == last)
        if self._before:
            self.vouched = last
        self._last, self._last_id = last, None

    def _or_those_before(self) -> str:
        """Who may have computed hashes anew can have begun at any row since the last one that is vouched for."""
        first, last = self.vouched + 1, self._last - 1
        if first > last:
            return ""
        return f" (or, with its hash, {f'row {first}' if first == last else f'one of rows {first} to {last}'})"

    def _tell(
        self,
        wrong: Wrong,
        words: str,
        *,
        sequence: int | None,
        first: int | None = None,
        row_id: str | None = None,
        checkpoint: int | None = None,
    ) -> None:
        self._told = True
        self._found(
            Finding(
                wrong=wrong,
                words=f"chain {self._writer} of {self._day}: {words}",
                writer=self._writer,
                day=self._day,
                first_sequence=sequence if first is None else first,
                sequence=sequence,
                id=row_id,
                checkpoint=checkpoint,
            )
        )
