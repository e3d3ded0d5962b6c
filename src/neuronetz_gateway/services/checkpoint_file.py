"""The file of the second sink, held against what the database has."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

from neuronetz_gateway.checkpoint_signing import CheckpointKeys
from neuronetz_gateway.domain.chain_finding import Finding, Wrong
from neuronetz_gateway.domain.chain_walk import Listing
from neuronetz_gateway.domain.checkpoint import SignedCheckpoint, parsed_document
from neuronetz_gateway.services.checkpoint_sinks import read_lines


class CheckpointFile:
    """Read once before the database is, so that nothing in it can be newer; its methods block.

    Where the two differ, what the file has is believed as well if a known key signed it. Raises OSError.
    """

    def __init__(self, path: Path, keys: CheckpointKeys, found: Callable[[Finding], None]) -> None:
        self._path = path
        self._keys = keys
        self._found = found
        self._digests: dict[int, str] = {}
        self._in_database: set[int] = set()
        self._listings: defaultdict[date, defaultdict[str, list[Listing]]] = defaultdict(lambda: defaultdict(list))
        self.dropped: set[date] = set()

    @property
    def days(self) -> set[date]:
        """The days of which only the file lists something."""
        return set(self._listings)

    @property
    def count(self) -> int:
        return len(self._digests)

    def read(self) -> None:
        """Takes all lines in."""
        for signed, line in read_lines(self._path):
            if signed is None:
                self._tell(None, f"line {line} of {self._path} cannot be read")
            elif self._digests.setdefault(signed.number, signed.digest) != signed.digest:
                self._tell(signed.number, f"{self._path} has two checkpoints {signed.number} that differ")

    def compare(self, signed: SignedCheckpoint) -> None:
        """One checkpoint as the database has it."""
        digest = self._digests.get(signed.number)
        if digest == signed.digest:
            self._in_database.add(signed.number)
        elif digest is not None:
            self._tell(signed.number, f"checkpoint {signed.number} of the database is another one in {self._path}")
        elif self._digests and min(self._digests) < signed.number < max(self._digests):
            self._tell(signed.number, f"checkpoint {signed.number} is missing in {self._path}")

    def finish(self, last_number: int) -> None:
        """To be called when the database has no more; last_number is the highest that it has."""
        for number in sorted(self._digests.keys() - self._in_database):
            if number > last_number:
                self._tell(number, f"checkpoint {number} of {self._path} is missing in the database")
        for signed in self._believed():
            document = parsed_document(signed.document)
            self.dropped.update(document.dropped)
            for head in document.heads:
                listing = Listing(head.sequence, signed.number, head.hash)
                self._listings[head.chain.day][str(head.chain.writer)].append(listing)

    def listings(self, day: date) -> dict[str, list[Listing]]:
        """What the file alone lists of a day, by writer."""
        return dict(self._listings.get(day, {}))

    def _believed(self) -> Iterator[SignedCheckpoint]:
        for signed, _ in read_lines(self._path):
            if signed is None or signed.number in self._in_database:
                continue
            if self._keys.verifies(signed.key_id, signed.document, signed.signature):
                yield signed
            elif self._keys.knows(signed.key_id):
                words = f"checkpoint {signed.number} of {self._path} has a signature that is not that of its document"
                self._tell(signed.number, words)

    def _tell(self, number: int | None, words: str) -> None:
        self._found(Finding(Wrong.SINK_DIFFERS, words, checkpoint=number))
