"""What a caller writes cannot break a log line."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuronetz_gateway.domain.audit import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("curl/8.5", "curl/8.5"),
        ("a\r\nb", "a\\r\\nb"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("nul\x00", "nul\\x00"),
        ("grün 日本", "grün 日本"),
        ("\u202egpj", "\\u202egpj"),
        ("\ud800", "\\ud800"),
    ],
)
@pytest.mark.promise("D4")
def test_control_characters_are_escaped(text: str, shown: str) -> None:
    assert printable(text, 50) == shown


@settings(deadline=None)
@given(st.text(), st.integers(0, 40))
def test_the_result_is_printable_and_bounded(text: str, limit: int) -> None:
    shown = printable(text, limit)
    assert len(shown) <= limit
    assert shown.isprintable()
