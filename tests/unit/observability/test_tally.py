"""Observations that are added up reach the histogram as if each had been observed there."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from neuronetz_gateway.observability.tally import Tally

BOUNDS = (0.25, 0.5, 1, 2.5)
FIGURES = st.sampled_from([0.0, 0.125, 0.25, 0.375, 0.5, 0.75, 1, 1.25, 2.5, 2.75, 600.0])  # sums of these are exact


def histogram() -> tuple[CollectorRegistry, Histogram]:
    registry = CollectorRegistry()
    return registry, Histogram("seconds", "What is measured.", buckets=BOUNDS, registry=registry)


def shown(registry: CollectorRegistry) -> list[bytes]:
    return [line for line in generate_latest(registry).splitlines() if b"_created" not in line]


@given(rounds=st.lists(st.lists(FIGURES, max_size=6), max_size=4))
def test_what_is_handed_over_is_what_was_observed(rounds: list[list[float]]) -> None:
    direct_registry, direct = histogram()
    tallied_registry, target = histogram()
    tally = Tally(target, BOUNDS)
    for figures in rounds:
        for figure in figures:
            direct.observe(figure)
            tally.observe(figure)
        tally.hand_over()
        tally.hand_over()
    assert shown(tallied_registry) == shown(direct_registry)
