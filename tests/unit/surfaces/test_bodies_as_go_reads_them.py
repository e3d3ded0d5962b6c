"""What the gateway saw in a body is what Go's decoder sees in it; what goes up is what was seen."""

import zlib
from collections import Counter

import pytest

from neuronetz_gateway.surfaces.surface import Endpoint
from tests.support.mutations import Mutator, smallest
from tests.support.read_as_go import OPEN_RULES, RULES, check
from tests.support.valid_bodies import READING, SPEECHES, name_of

SEED = 20261123


def seed_of(endpoint: Endpoint) -> int:
    return SEED + zlib.crc32(name_of(endpoint).encode())


def run(endpoint: Endpoint, count: int) -> Counter[bool]:
    taken: Counter[bool] = Counter()
    for number, body in enumerate(Mutator(seed_of(endpoint)).bodies(SPEECHES[endpoint.path].bodies(), count)):
        try:
            taken[check(endpoint, body, RULES if number % 2 else OPEN_RULES)] += 1
        except Exception as error:  # noqa: BLE001 - whatever the gateway raises is the finding
            pytest.fail(_story(endpoint, number, body, error))
    return taken


def _story(endpoint: Endpoint, number: int, body: bytes, error: Exception) -> str:
    def fails(shorter: bytes) -> bool:
        try:
            check(endpoint, shorter, RULES if number % 2 else OPEN_RULES)
        except Exception as other:  # noqa: BLE001 - whatever the gateway raises is the finding
            return type(other) is type(error) and other.args[:1] == error.args[:1]
        return False

    return (
        f"{name_of(endpoint)}: {type(error).__name__}: {' '.join(map(str, error.args))}\n"
        f"seed {seed_of(endpoint)}, body number {number}:\n{body!r}\nas small as it fails:\n{smallest(body, fails)!r}"
    )


def test_every_endpoint_that_reads_has_a_valid_body() -> None:
    assert {endpoint.path for endpoint in READING} <= SPEECHES.keys()


@pytest.mark.parametrize("endpoint", READING, ids=name_of)
def test_the_valid_bodies_are_taken(endpoint: Endpoint) -> None:
    for body in SPEECHES[endpoint.path].bodies():
        from_python = Mutator(0).as_written(body)
        assert check(endpoint, from_python), body
        assert check(endpoint, from_python, OPEN_RULES), body


@pytest.mark.promise("N3", "N6", "N1")
@pytest.mark.parametrize("endpoint", READING, ids=name_of)
def test_a_thousand_mutated_bodies_are_read_as_go_reads_them_or_refused(endpoint: Endpoint) -> None:
    print(f"seed {seed_of(endpoint)}")
    taken = run(endpoint, 1_000)
    assert taken[True] > 100, "too few are taken for the test to see anything"
    assert taken[False] > 100


@pytest.mark.full
@pytest.mark.timeout(600)
@pytest.mark.promise("N3", "N6", "N1")
@pytest.mark.parametrize("endpoint", READING, ids=name_of)
def test_a_hundred_thousand_mutated_bodies_are_read_as_go_reads_them_or_refused(endpoint: Endpoint) -> None:
    print(f"seed {seed_of(endpoint)}")
    run(endpoint, 100_000 // len(READING))
