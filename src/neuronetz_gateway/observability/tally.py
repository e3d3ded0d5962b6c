"""Observations of one histogram, added up in plain numbers until they are handed over."""

from bisect import bisect_left
from collections.abc import Sequence

from prometheus_client import Histogram


class Tally:
    """A place in a list and a sum for each observation.

    prometheus-client takes a lock for each of the two figures of an observation, with several workers a write to a
    mapped file as well: nine such figures were as much of a small request as reading its body.
    """

    def __init__(self, histogram: Histogram, bounds: Sequence[float]) -> None:
        """`bounds` are those that the histogram was made with, ascending."""
        self._histogram = histogram
        self._bounds = bounds
        self._places = [0] * (len(bounds) + 1)
        self._sum = 0.0
        self._count = 0

    def observe(self, figure: float) -> None:
        self._places[bisect_left(self._bounds, figure)] += 1
        self._sum += figure
        self._count += 1

    def hand_over(self) -> None:
        """Add all of it to the histogram."""
        places, total, count = self._places, self._sum, self._count
        if count:
            self._places, self._sum, self._count = [0] * len(places), 0.0, 0
            # The library has no public way to add several observations at once; its buckets are not cumulative.
            self._histogram._sum.inc(total)  # noqa: SLF001 - see above
            for bucket, more in zip(self._histogram._buckets, places, strict=True):  # noqa: SLF001 - see above
                if more:
                    bucket.inc(more)
