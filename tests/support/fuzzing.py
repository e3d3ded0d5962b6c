"""Bounded runs of the targets of fuzzing under hypothesis."""

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from fuzz.target import LONG_BYTES, Chopped, Target

_LONG = (*LONG_BYTES.keys(),)


def bounded(examples: int) -> Callable[[Any], Any]:
    """Without a seed of its own a run says the same on every machine; `just fuzz` goes further."""
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def pieces_of(target: Target, most: int = 24) -> st.SearchStrategy[bytes]:
    """Texts of the words of a target, with anything between them."""
    return st.lists(st.sampled_from(target.words) | st.binary(max_size=6), max_size=most).map(b"".join)


def bent(valid: bytes, words: tuple[bytes, ...]) -> st.SearchStrategy[bytes]:
    """A valid input with a few places overwritten, left out or written twice."""
    place = st.integers(0, len(valid))
    edit = st.tuples(place, st.integers(0, 12), st.sampled_from(words) | st.binary(max_size=4))
    return st.lists(edit, max_size=4).map(lambda edits: _edited(valid, edits))


def _edited(valid: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    for at, length, text in edits:
        valid = valid[:at] + text + valid[at + length :]
    return valid


def chopped(kind: int, streams: st.SearchStrategy[bytes]) -> st.SearchStrategy[Chopped]:
    """A stream with any cuts; the signs for something long stand for it."""
    cuts = st.lists(st.integers(0, 65535), max_size=6).map(sorted)
    return st.tuples(streams, cuts).map(lambda drawn: _chopped(kind, *drawn))


def _chopped(kind: int, stream: bytes, cuts: list[int]) -> Chopped:
    for sign in _LONG:
        stream = stream.replace(sign, LONG_BYTES[sign], 1)
    return Chopped(kind, stream, tuple(cut * (len(stream) + 1) >> 16 for cut in cuts))
