"""What a target of fuzzing is."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

LONG_BYTES = {b"\x0e": b"a" * (66 << 10), b"\x0f": b" " * (260 << 10)}
"""Signs in a packed stream for more than a fuzzer would ever write: past what is held of a record, of a body."""

_LONG_ONES_AT_MOST = 1
_WITH_LONG_ONES = 0x80
_CUTS_AT_MOST = 8
_LONGEST_MESSAGE = 300


class Finding(AssertionError):  # noqa: N818 - it is what a target finds, not what the gateway raises
    pass


def must(holds: object, *said: object) -> None:
    """Raises Finding where a property does not hold."""
    if not holds:
        raise Finding(*said)


def is_fit_to_be_shown(message: str) -> bool:
    """Whether a caller may read an error: short, of printable characters."""
    return message.isprintable() and len(message) < _LONGEST_MESSAGE


@dataclass(frozen=True, slots=True)
class Target:
    """check takes any bytes at all; it raises where a property is broken. seeds are inputs worth starting from."""

    check: Callable[[bytes], None]
    seeds: Callable[[], Iterable[bytes]]
    words: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Chopped:
    """A stream with the places where its chunks end; kind is a free number from 0 to 127."""

    kind: int
    stream: bytes
    cuts: tuple[int, ...]

    @classmethod
    def of(cls, data: bytes) -> "Chopped":
        """Any bytes as a chopped stream: the kind, the number of cuts, two bytes for each, the stream."""
        kind, count = (*data[:2], 0, 0)[:2]
        count %= _CUTS_AT_MOST + 1
        stream = data[2 + 2 * count :]
        for sign, long in LONG_BYTES.items() if kind & _WITH_LONG_ONES else ():  # they are slow, so not in each input
            stream = stream.replace(sign, long, _LONG_ONES_AT_MOST)
        places = data[2 : 2 + 2 * count]
        cuts = [int.from_bytes(places[at : at + 2]) * (len(stream) + 1) >> 16 for at in range(0, len(places) - 1, 2)]
        return cls(kind % _WITH_LONG_ONES, stream, tuple(sorted(cuts)))

    def chunks(self) -> list[bytes]:
        """The pieces, none empty, as no upstream sends an empty one."""
        bounds = (0, *(min(cut, len(self.stream)) for cut in self.cuts), len(self.stream))
        return [self.stream[start:end] for start, end in pairwise(bounds) if end > start]


def packed(kind: int, stream: bytes, cuts: tuple[int, ...] = (0x3333, 0x9999)) -> bytes:
    """The bytes that Chopped.of reads; cuts are places out of 65536."""
    kind |= _WITH_LONG_ONES * any(sign in stream for sign in LONG_BYTES)
    return bytes((kind, len(cuts))) + b"".join(cut.to_bytes(2) for cut in cuts) + stream
