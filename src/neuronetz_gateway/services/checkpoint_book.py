"""Checkpoints read in their order: which can be trusted, what they list."""

from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, timedelta

from neuronetz_gateway.checkpoint_signing import CheckpointKeys
from neuronetz_gateway.domain.chain_finding import Finding, Wrong
from neuronetz_gateway.domain.chain_walk import Listing
from neuronetz_gateway.domain.checkpoint import (
    NO_CHECKPOINT,
    Checkpoint,
    CheckpointFormatError,
    SignedCheckpoint,
    parsed_document,
)

# A transaction of the last moment of a day may be committed when the next has begun; none lasts for so long.
_LATEST_COMMIT = timedelta(hours=1)


class CheckpointBook:
    """Takes every checkpoint once, by its number.

    One is trusted whose signature is that of a known key, or whose digest a trusted one names that follows it: so the
    keys of long ago need not be known. Documents are not kept; `numbers` tells which to read again for a day.
    """

    def __init__(self, keys: CheckpointKeys, found: Callable[[Finding], None]) -> None:
        self._keys = keys
        self._found = found
        self._last_digest = NO_CHECKPOINT
        self._open: list[Checkpoint] = []  # without a good signature; each follows upon the one before it
        self._untrusted: set[int] = set()
        self._numbers: defaultdict[date, array[int]] = defaultdict(lambda: array("q"))
        self.count = 0
        self.last_number = 0
        self.dropped: set[date] = set()
        self._over: list[tuple[date, int]] = []  # from which trusted checkpoint on which day was over for good

    @property
    def days(self) -> set[date]:
        """The days that checkpoints list chains of."""
        return set(self._numbers)

    def whole_at(self, day: date) -> int | None:
        """The first trusted one of so long after a day that it, with those before, lists all rows of that day."""
        place = bisect_left(self._over, (day, 0))
        return self._over[place][1] if place < len(self._over) else None

    def numbers(self, day: date) -> list[int]:
        """The checkpoints that list chains of a day."""
        return list(self._numbers.get(day, ()))

    def take(self, signed: SignedCheckpoint) -> None:
        """The next checkpoint."""
        checkpoint = self._parsed(signed)
        if not self._follows(signed, checkpoint):
            self._give_up()
        self.count, self.last_number, self._last_digest = self.count + 1, signed.number, signed.digest
        if checkpoint is None:
            self._untrusted.add(signed.number)
            return
        for day in {head.chain.day for head in checkpoint.heads}:
            self._numbers[day].append(signed.number)
        if not self._is_genuine(signed):
            self._untrusted.add(signed.number)
            self._open.append(checkpoint)
            return
        for each in (*self._open, checkpoint):
            self._untrusted.discard(each.number)
            self.dropped.update(each.dropped)
            day = (each.at.astimezone(UTC) - _LATEST_COMMIT).date() - timedelta(days=1)
            if not self._over or self._over[-1][0] < day:
                self._over.append((day, each.number))
        self._open.clear()

    def finish(self) -> None:
        """To be called behind the last one: those for which nobody vouches are told of."""
        self._give_up()

    def listings(self, day: date, checkpoints: Iterable[SignedCheckpoint]) -> Iterator[tuple[str, Listing, bool]]:
        """What some checkpoints list of a day: a writer, how far his chain had come, whether that can be trusted."""
        for signed in checkpoints:
            trusted = signed.number not in self._untrusted
            for head in parsed_document(signed.document).heads:
                if head.chain.day == day:
                    yield str(head.chain.writer), Listing(head.sequence, signed.number, head.hash), trusted

    def _parsed(self, signed: SignedCheckpoint) -> Checkpoint | None:
        try:
            checkpoint = parsed_document(signed.document)
        except CheckpointFormatError as error:
            self._tell(signed.number, f"cannot be read: {error}")
            return None
        if (checkpoint.number, checkpoint.at, checkpoint.key_id) != (signed.number, signed.at, signed.key_id):
            self._tell(signed.number, "stands under another number, time or key than its document names")
        return checkpoint

    def _follows(self, signed: SignedCheckpoint, checkpoint: Checkpoint | None) -> bool:
        first, until = self.last_number + 1, signed.number - 1
        if first <= until:
            what = f"checkpoint {first} is" if first == until else f"checkpoints {first} to {until} are"
            self._found(Finding(Wrong.CHECKPOINT_MISSING, f"{what} missing", checkpoint=first))
            return False
        if checkpoint is None:
            return False
        if checkpoint.previous != self._last_digest:
            self._tell(signed.number, "does not follow upon the one before it, which was changed, or put there")
            return False
        return True

    def _is_genuine(self, signed: SignedCheckpoint) -> bool:
        """Whether a known key signed it; one that is not known may be vouched for later."""
        if not self._keys.knows(signed.key_id):
            return False
        if self._keys.verifies(signed.key_id, signed.document, signed.signature):
            return True
        self._tell(signed.number, "has a signature that is not that of its document")
        return False

    def _give_up(self) -> None:
        for each in self._open:
            if not self._keys.knows(each.key_id):  # the others have been told of
                words = f"was signed by a key that is not known here ({each.key_id}); none that is known vouches for it"
                self._tell(each.number, words)
        self._open.clear()

    def _tell(self, number: int, words: str) -> None:
        self._found(Finding(Wrong.CHECKPOINT_BROKEN, f"checkpoint {number} {words}", checkpoint=number))
