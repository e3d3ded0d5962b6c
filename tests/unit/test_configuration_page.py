"""docs/CONFIGURATION.md is what the settings are."""

import pytest
from pydantic.fields import FieldInfo

from neuronetz_gateway.settings import Settings
from tests.support.configuration_page import PAGE, page, type_of, what
from tests.support.configuration_words import GROUPS, WHAT


def test_the_page_is_what_the_settings_are() -> None:
    """`just docs` writes it anew."""
    assert PAGE.read_text(encoding="utf-8") == page()


def test_every_setting_has_its_row_and_no_words_are_left_over() -> None:
    shown = page()
    assert [name for name in Settings.model_fields if shown.count(f"\n| `{name.upper()}` |") != 1] == []
    assert WHAT.keys() | set(GROUPS.values()) <= Settings.model_fields.keys()


def test_a_setting_without_words_is_told_of() -> None:
    with pytest.raises(LookupError, match="say what UNHEARD_OF does"):
        what("unheard_of", FieldInfo(annotation=int))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("environment", "`production` or `development`"),
        ("lease_s", "number (seconds), above 0"),
        ("max_json_depth", "whole number, at least 4, at most 200"),
        ("default_rpm", "whole number, at least 1, or `none`"),
        ("key_pepper", "secret"),
        ("allow_raw", "`true` or `false`"),
    ],
)
def test_a_type_is_told_with_its_unit_and_bounds(name: str, words: str) -> None:
    assert type_of(name, Settings.model_fields[name]) == words
