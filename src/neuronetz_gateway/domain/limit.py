"""How often, how much and how many at once a scope may call."""

from collections.abc import Mapping
from dataclasses import dataclass

# Some limits by name (rpm, tpm, concurrent, output_cap); None takes one away.
type LimitChanges = Mapping[str, int | None]


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one scope (a tenant or a key); None means that the scope itself sets none.

    rpm counts requests and tpm tokens in every trailing 60 seconds, concurrent counts requests under way,
    output_cap bounds the output tokens of one request.
    """

    rpm: int | None = None
    tpm: int | None = None
    concurrent: int | None = None
    output_cap: int | None = None

    def narrowed_by(self, other: "Limits") -> "Limits":
        """Both sets of limits at once: the smaller figure holds on every axis (DESIGN: a key only narrows)."""
        return Limits(
            rpm=smaller(self.rpm, other.rpm),
            tpm=smaller(self.tpm, other.tpm),
            concurrent=smaller(self.concurrent, other.concurrent),
            output_cap=smaller(self.output_cap, other.output_cap),
        )


def smaller(one: int | None, other: int | None) -> int | None:
    """The smaller of two bounds, where None is no bound."""
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)
