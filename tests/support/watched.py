"""Which metrics there are, with their labels, and which of them an expression of Prometheus asks for."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from neuronetz_gateway.observability.metrics import Metrics

_ASKED = re.compile(r"(?<![\w$])(neuronetz_\w+|up)\b(?:\{([^}]*)\})?(?!\s*\()")
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
_GROUPED = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)")
_OF_A_SCRAPE = frozenset({"instance", "job"})  # Prometheus' own


@dataclass(frozen=True, slots=True)
class Asked:
    """A metric as an expression names it, with (label, operator, value) of each matcher."""

    name: str
    matchers: tuple[tuple[str, str, str], ...]


def series() -> dict[str, frozenset[str]]:
    """Every name that a scrape can show, with the labels that it has."""
    found: dict[str, frozenset[str]] = {"up": _OF_A_SCRAPE}
    for collector, names in Metrics()._registry._collector_to_names.items():
        labels = frozenset(getattr(collector, "_labelnames", ())) | _OF_A_SCRAPE
        for name in names:
            found[name] = labels | {"le"} if name.endswith("_bucket") else labels
    return found


def asked_by(expression: str) -> Iterator[Asked]:
    for name, matchers in _ASKED.findall(expression):
        yield Asked(name, tuple(_MATCHER.findall(matchers)))


def grouped_by(expression: str) -> set[str]:
    """The labels by which anything in it is summed."""
    return {label.strip() for labels in _GROUPED.findall(expression) for label in labels.split(",")}
