"""A charge is the greater of what was reported and what was seen."""

import pytest

from neuronetz_gateway.domain.usage import NOTHING, Charge, MeterReading, charge_of


@pytest.mark.parametrize(
    ("reading", "charge"),
    [
        (MeterReading(10, 20, 19, terminated=True), Charge(10, 20, estimated=False)),
        (MeterReading(10, 20, 25, terminated=True), Charge(10, 25, estimated=False)),
        (MeterReading(10, 20, 19, terminated=False), Charge(100, 20, estimated=True)),
        (MeterReading(None, None, 7, terminated=False), Charge(100, 7, estimated=True)),
        (MeterReading(None, None, 7, terminated=True), Charge(100, 7, estimated=True)),
        (MeterReading(0, 0, 3, terminated=True), Charge(100, 3, estimated=True)),
        (MeterReading(10, None, 3, terminated=True), Charge(100, 3, estimated=True)),
        (MeterReading(500, None, 3, terminated=False), Charge(500, 3, estimated=True)),
        (MeterReading(), Charge(100, 0, estimated=True)),
    ],
)
@pytest.mark.promise("B7")
def test_a_stream_is_charged_what_was_reported_or_else_its_bound(reading: MeterReading, charge: Charge) -> None:
    assert charge_of(reading, 100) == charge


@pytest.mark.parametrize(
    ("reading", "charge"),
    [
        (MeterReading(10, None, terminated=True), Charge(10, 0, estimated=False)),
        (MeterReading(0, None, terminated=True), Charge(100, 0, estimated=True)),
        (MeterReading(10, None, terminated=False), Charge(100, 0, estimated=True)),
    ],
)
def test_an_embedding_needs_no_reported_output(reading: MeterReading, charge: Charge) -> None:
    assert charge_of(reading, 100, has_output=False) == charge


def test_a_charge_sums_both_sides() -> None:
    assert Charge(3, 4, estimated=False).total_tokens == 7
    assert NOTHING.total_tokens == 0
