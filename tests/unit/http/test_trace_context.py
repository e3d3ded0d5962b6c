"""What of `traceparent` and `tracestate` is believed, to the byte."""

import random
import string
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuronetz_gateway.domain.identifier import uuid7
from neuronetz_gateway.http.trace_context import Trace, trace_of

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{PARENT}-01"
REQUEST = UUID("01940000-0000-7abc-8123-456789abcdef")
SEED = 20261123


def traced(*parents: str | bytes, states: tuple[str | bytes, ...] = ()) -> Trace | None:
    given = [*((b"traceparent", each) for each in parents), *((b"tracestate", each) for each in states)]
    headers = [(name, value.encode("latin-1") if isinstance(value, str) else value) for name, value in given]
    return trace_of({"type": "http", "headers": [(b"host", b"gateway"), *headers]})


def state_of(*states: str | bytes) -> bytes:
    trace = traced(GOOD, states=states)
    assert trace is not None
    return trace.state


def test_a_trace_goes_up_with_the_request_as_its_new_parent() -> None:
    trace = traced(GOOD, states=("rojo=00f067aa0ba902b7, congo=t61rcWkgMzE",))
    assert trace == Trace(TRACE, 1, b"rojo=00f067aa0ba902b7,congo=t61rcWkgMzE")
    assert trace.fields(REQUEST) == [
        (b"traceparent", f"00-{TRACE}-8123456789abcdef-01".encode()),
        (b"tracestate", b"rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
    ]
    assert Trace(TRACE, 0, b"").fields(REQUEST) == [(b"traceparent", f"00-{TRACE}-8123456789abcdef-00".encode())]


def test_every_request_gives_a_span_of_its_own_that_is_never_zero() -> None:
    spans = {dict(Trace(TRACE, 1, b"").fields(uuid7()))[b"traceparent"][36:52] for _ in range(1_000)}
    assert len(spans) == 1_000
    assert b"0" * 16 not in spans


@pytest.mark.parametrize(
    "parent",
    [
        f"00-{TRACE}-{PARENT}-00", f"00-{TRACE}-{PARENT}-ff",
        f"01-{TRACE}-{PARENT}-01", f"cc-{TRACE}-{PARENT}-01", f"cc-{TRACE}-{PARENT}-01-what.comes",
        f"cc-{TRACE}-{PARENT}-01-",
        f"00-{'0' * 31}1-{PARENT}-01", f"00-{TRACE}-{'0' * 15}1-01",
    ],
)  # fmt: skip
def test_a_good_one_is_taken_also_of_a_version_to_come(parent: str) -> None:
    trace = traced(parent)
    assert trace is not None
    assert trace.trace_id == parent[3:35]
    assert trace.flags == int(parent[53:55], 16) & 3


@pytest.mark.parametrize(
    "parent",
    [
        "", " ", "00", "-", GOOD + " ", " " + GOOD, GOOD + "\n", GOOD + "-", GOOD + "-00", GOOD + "0",
        GOOD[:-1], GOOD[1:],
        GOOD.upper(), GOOD.replace("a", "A", 1), GOOD.replace("4", "g", 1),
        GOOD.replace("-", "_"), GOOD.replace("-", ""),
        f"ff-{TRACE}-{PARENT}-01", f"ff-{TRACE}-{PARENT}-01-x", f"cc-{TRACE}-{PARENT}-01.x",
        f"cc-{TRACE}-{PARENT}-01-\x00",
        f"cc-{TRACE}-{PARENT}-01-{'x' * 201}", f"00-{'0' * 32}-{PARENT}-01", f"00-{TRACE}-{'0' * 16}-01",
        f"0-{TRACE}-{PARENT}-01", f"000-{TRACE}-{PARENT}-01", f"00-{TRACE}0-{PARENT}-01", f"00-{TRACE}-{PARENT}-1",
        f"00-{TRACE}-{PARENT}-0g", f"{GOOD},{GOOD}", "\u00b2" + GOOD[1:], GOOD + "\r\nx-injected: 1", "nz_" + "a" * 41,
    ],
)  # fmt: skip
def test_anything_else_is_none(parent: str) -> None:
    assert traced(parent) is None
    assert traced(parent, GOOD) is traced(GOOD, parent) is None  # nor is it known which of two is meant


def test_nothing_comes_of_a_state_without_a_parent() -> None:
    assert traced(states=("a=1",)) is traced("00-bad", states=("a=1",)) is None


@pytest.mark.parametrize(
    ("given", "passed"),
    [
        (("a=1",), b"a=1"),
        (("a=1", "b=2"), b"a=1,b=2"),
        (("a=1 ,\tb=2 ", "", ",,c=3,"), b"a=1,b=2,c=3"),
        (("tenant@system=x", "0t@s=x"), b"tenant@system=x,0t@s=x"),
        (("a_-*/0=!~ x",), b"a_-*/0=!~ x"),
        (("a" * 256 + "=1",), b"a" * 256 + b"=1"),
        (("a=" + "x" * 256,), b"a=" + b"x" * 256),
        ((",".join(f"k{number}=1" for number in range(32)),), b",".join(b"k%d=1" % number for number in range(32))),
        (("", " , ,"), b""),
    ],
)
def test_a_good_state_goes_along_as_one_line(given: tuple[str, ...], passed: bytes) -> None:
    assert state_of(*given) == passed


@pytest.mark.parametrize(
    "given",
    [
        "a", "=1", "a=", "a= ", "A=1", "0=1", "a=1=2", "a=\x00", "a=\u00fc", "a b=1", "a=1;b=2", "a=1\r\nx: 1",
        "@a=1", "a@=1",
        "a@B=1", "a@b@c=1", "a@" + "b" * 15 + "=1", "a" * 257 + "=1", "a=" + "x" * 257, "a=1,a=2",
        "a=1,b", "a=1," + "b=2" * 2,
        "a=nz_A1b2C3d4E" + "s" * 32, "a=" + "x" * 200 + ",b=" + "x" * 200 + ",c=" + "x" * 106,
        ",".join(f"k{number}=1" for number in range(33)),
    ],
)  # fmt: skip
def test_of_a_state_that_is_not_good_nothing_is_passed_on(given: str) -> None:
    assert state_of(given) == b""
    assert state_of("z=1", given) == b""


@given(st.binary(max_size=600), st.binary(max_size=600))
def test_whatever_comes_nothing_is_raised(parent: bytes, state: bytes) -> None:
    assert traced(parent) is None  # by chance nobody draws 55 bytes that are one
    assert not set(b"\r\n\x00") & set(state_of(state))


def test_of_what_mutants_give_only_what_is_well_formed_goes_up() -> None:
    """Each mutant is refused, or gives fields that a strict reader takes for whole; all of them within bounds."""
    dice, letters = random.Random(SEED), string.hexdigits + "-_=,@ \t\r\n\x00\u00fcgz"
    taken = 0
    for _ in range(5_000):
        parent, state = list(GOOD), list("rojo=00f067aa0ba902b7,t@congo=t61rcWkgMzE")
        for line in (parent, state):
            for _ in range(dice.randrange(3)):
                place = dice.randrange(len(line))
                line[place : place + dice.randrange(2)] = dice.choice(letters)
        trace = traced("".join(parent).encode("latin-1"), states=("".join(state).encode("latin-1"),))
        if trace is None:
            continue
        taken += 1
        fields = dict(trace.fields(REQUEST))
        again = traced(fields[b"traceparent"], states=(fields.get(b"tracestate", b""),))
        assert again == trace
        assert len(fields[b"traceparent"]) == 55
        assert len(trace.state) <= 512
        assert not set(b"\r\n\x00") & set(fields[b"traceparent"] + trace.state)
    assert 500 < taken < 4_500
