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


@pytest.mark.promise("B7")
@pytest.mark.parametrize(
    ("reading", "output_tokens"),
    [
        (MeterReading(counted_output=3, uncounted_bytes=20), 23),
        (MeterReading(counted_output=3, uncounted_bytes=5_000), 40),
        (MeterReading(counted_output=50, uncounted_bytes=20), 50),
        (MeterReading(10, 7, 3, terminated=True, uncounted_bytes=20), 7),
    ],
)
def test_what_arrived_uncounted_is_charged_by_its_bytes_within_the_grant(
    reading: MeterReading, output_tokens: int
) -> None:
    assert charge_of(reading, 100, granted_output_tokens=40).output_tokens == output_tokens
    assert charge_of(reading, 100, has_output=False).output_tokens == max(
        reading.output_tokens or 0, reading.counted_output
    )


def test_a_charge_sums_both_sides() -> None:
    assert Charge(3, 4, estimated=False).total_tokens == 7
    assert NOTHING.total_tokens == 0
