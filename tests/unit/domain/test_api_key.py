"""The shape of a key, and that it never shows itself."""

import secrets

import pytest

from neuronetz_gateway.domain.api_key import PREFIX_LENGTH, PlainKey

VALUE = "nz_" + "a1B" * 13 + "zZ"


def test_a_new_key_has_the_shape_of_a_key() -> None:
    key = PlainKey.issue(secrets.choice)
    assert PlainKey.parse(key.value) == key
    assert len(key.value) == PREFIX_LENGTH + 32
    assert key.prefix == key.value[:12]
    assert PlainKey.issue(secrets.choice) != key


def test_the_randomness_of_a_key_is_handed_in() -> None:
    assert PlainKey.issue(lambda alphabet: alphabet[0]).value == "nz_" + "0" * 41


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nz_",
        VALUE[:-1],
        VALUE + "a",
        VALUE + "\n",
        " " + VALUE,
        "NZ_" + VALUE[3:],
        VALUE[:-1] + "é",
        VALUE[:-1] + "-",
    ],
)
@pytest.mark.promise("A3")
def test_what_has_not_the_shape_of_a_key_is_none(text: str) -> None:
    assert PlainKey.parse(text) is None


@pytest.mark.promise("A7")
def test_a_key_does_not_show_itself_in_a_repr() -> None:
    key = PlainKey(VALUE)
    assert VALUE not in repr(key)
    assert VALUE[12:] not in f"{key}"
