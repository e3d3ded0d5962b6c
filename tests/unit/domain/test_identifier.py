"""Ids sort by the time of their making."""

import time

from neuronetz_gateway.domain.identifier import uuid7


def test_an_id_is_a_version_7_uuid_of_now() -> None:
    before = time.time_ns() // 1_000_000
    made = uuid7()
    after = time.time_ns() // 1_000_000
    assert made.version == 7
    assert made.variant == "specified in RFC 4122"
    assert before <= made.int >> 80 <= after


def test_ids_of_different_milliseconds_sort_by_time() -> None:
    made = []
    for _ in range(5):
        made.append(uuid7())
        start = time.time_ns() // 1_000_000
        while time.time_ns() // 1_000_000 <= start:
            pass
    assert made == sorted(made)


def test_ids_of_one_moment_differ() -> None:
    assert len({uuid7() for _ in range(2000)}) == 2000
