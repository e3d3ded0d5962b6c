"""Failures by address."""

from neuronetz_gateway.services.failure_counting import FailureCounter


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def counter(clock: Clock, *, per_minute: int = 3, capacity: int = 100) -> FailureCounter:
    return FailureCounter(per_minute=per_minute, clock=clock, capacity=capacity)


def test_an_address_is_blocked_after_its_share_until_the_minute_is_over() -> None:
    clock = Clock()
    failures = counter(clock)
    for _ in range(3):
        assert failures.blocked_seconds("192.0.2.1") == 0
        failures.add("192.0.2.1")
    clock.now += 20
    assert failures.blocked_seconds("192.0.2.1") == 40
    assert failures.blocked_seconds("192.0.2.2") == 0
    clock.now += 40
    assert failures.blocked_seconds("192.0.2.1") == 0
    failures.add("192.0.2.1")
    assert failures.blocked_seconds("192.0.2.1") == 0


def test_an_ipv6_network_of_64_bits_is_one_address() -> None:
    failures = counter(Clock())
    for last in ("1", "2", "ffff:1:2:3"):
        failures.add(f"2001:db8:0:7:{last}" if ":" in last else f"2001:db8:0:7::{last}")
    assert failures.blocked_seconds("2001:db8:0:7:9::9") > 0
    assert failures.blocked_seconds("2001:db8:0:8::1") == 0


def test_an_ipv4_address_is_the_same_in_its_ipv6_spelling() -> None:
    failures = counter(Clock(), per_minute=1)
    failures.add("::ffff:192.0.2.1")
    assert failures.blocked_seconds("192.0.2.1") > 0
    assert failures.blocked_seconds("192.0.2.9") == 0


def test_many_addresses_take_no_more_than_their_room() -> None:
    failures = counter(Clock(), per_minute=1, capacity=10)
    for number in range(1000):
        failures.add(f"10.0.{number // 256}.{number % 256}")
    assert len(failures._windows) == 10
    assert failures.blocked_seconds("10.0.3.231") > 0
    assert failures.blocked_seconds("10.0.0.0") == 0


def test_what_is_no_ip_address_is_counted_as_it_stands() -> None:
    failures = counter(Clock(), per_minute=1)
    failures.add("")
    assert failures.blocked_seconds("") > 0
    assert failures.blocked_seconds("unix") == 0
