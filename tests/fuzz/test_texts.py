"""Names, lengths of time, addresses, documents about models: of any bytes at all."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fuzz import addresses, documents, lengths_of_time, model_names
from neuronetz_gateway.http.address import caller_address
from tests.support.fuzzing import bounded, pieces_of
from tests.support.model_spellings import elsewhere, equivalents
from tests.support.ollama_names import leaves_the_machine, ollama_name

_PART = st.text("abkKsS01_.-", min_size=1, max_size=4)
_NAMES = st.one_of(
    st.text(max_size=24),
    st.text("aKs/:.-_@ \t\u00a0\u017f\u212a", max_size=16),
    st.tuples(st.lists(_PART, min_size=1, max_size=4).map("/".join), st.lists(_PART, max_size=2)).map(
        lambda drawn: ":".join((drawn[0], *drawn[1]))
    ),
    pieces_of(model_names.TARGET, 6).map(lambda raw: raw.decode("utf-8", "replace")),
)


@pytest.mark.promise("A13", "N6")
@bounded(400)
@given(_NAMES)
def test_any_name_is_the_one_that_ollama_looks_up_or_refused(name: str) -> None:
    model_names.names_one_model(name)


@pytest.mark.promise("A13", "N6")
def test_no_spelling_passes_the_allow_list_as_another_model() -> None:
    for name in equivalents("fakea"):
        assert model_names.names_one_model(name) in {"fakea:latest", None}
    for name in elsewhere("fakea"):
        assert model_names.names_one_model(name) != "fakea:latest"


def test_the_oracle_of_names_says_what_was_seen_of_ollama() -> None:
    for name in equivalents("fakea"):
        meant = ollama_name(name)
        assert meant is not None, name
        assert meant.shortest == "fakea:latest", name
    for name in ("fakea:cloud", "fakea: cloud", "fakea:8b-CLOUD", "fakea:cloud:local"):
        assert leaves_the_machine(name)
    for name in ("a//b", "../x", "x:", "/x", "\u212aeep", "x@sha256:0", "a.b/c", "x" * 81):
        assert ollama_name(name) is None


@bounded(120)
@given(pieces_of(model_names.TARGET, 8))
def test_a_path_names_a_model_or_none(path: bytes) -> None:
    model_names.check(path)


@pytest.mark.promise("N6")
@bounded(300)
@given(
    st.from_regex(r"[+-]?([0-9]{0,12}(\.[0-9]{0,9})?(ns|us|ms|s|m|h|)){1,4}", fullmatch=True)
    | pieces_of(lengths_of_time.TARGET, 6).map(lambda raw: raw.decode("utf-8", "replace"))
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.sampled_from([True, None, [], {}, "\u0665m"])
)
@example("2562047h47m16.854775807s")
@example("999999999999h999999999999h")
@example("-0.0000000001s")
def test_any_length_of_time_is_the_one_that_ollama_takes_or_refused(value: object) -> None:
    lengths_of_time.lasts_alike(value)
    for most_seconds in (0, 60, 3600):
        lengths_of_time.is_bounded(value, most_seconds)


_HOP = (
    st.sampled_from(addresses.TARGET.words).map(bytes)
    | st.binary(max_size=6)
    | st.ip_addresses().map(lambda address: str(address).encode())
)


@pytest.mark.promise("N4")
@bounded(120)
@given(st.sampled_from(addresses.PEERS), st.lists(st.lists(_HOP, max_size=6).map(b"".join), max_size=3))
def test_any_forwarded_header_gives_a_plain_address_or_the_peers(peer: str, forwarded: list[bytes]) -> None:
    addresses.is_told_plainly(peer, [value.replace(b"\n", b"") for value in forwarded])


@pytest.mark.promise("N4")
def test_no_text_of_a_header_stands_behind_an_address() -> None:
    """Found by fuzzing: the zone of an IPv6 address may be any text of any length, which went into logs, audit rows and
    counters as a part of the address, each text another caller.
    """
    scope = {"client": ("10.0.0.1", 1), "headers": [(b"x-forwarded-for", b"2001:db8::1%" + b"x y" * 999)]}
    assert caller_address(scope, addresses.TRUSTED) == "2001:db8::1"


@bounded(120)
@given(
    st.lists(
        st.ip_addresses().map(str)
        | st.tuples(st.ip_addresses(), st.integers(0, 128)).map(lambda drawn: f"{drawn[0]}/{drawn[1]}")
        | st.sampled_from(["10.0.0.0/8", "::/0", "0.0.0.0/0", "::ffff:10.0.0.0/104", "fe80::1%x", "::ffff:0:0/95", ""]),
        max_size=4,
    ),
    st.ip_addresses().map(str) | st.sampled_from(["10.1.2.3", "::ffff:10.1.2.3", "fe80::1%x", "unix", "::"]),
)
def test_any_network_holds_what_it_says_or_is_refused(texts: list[str], address: str) -> None:
    addresses.holds_what_it_says(texts, address)


@bounded(80)
@given(pieces_of(documents.TARGET, 8) | st.binary(max_size=40))
def test_any_document_about_models_shows_no_more_than_it_may(document: bytes) -> None:
    documents.check(document)
