"""The example env file and the Settings class name the same variables with the same defaults."""

import re
from pathlib import Path

from pydantic import SecretStr

from neuronetz_gateway.settings import Settings

EXAMPLE = Path(__file__).resolve().parents[2] / ".env.example"
LINE = re.compile(r"^#?([A-Z][A-Z0-9_]*)=(.*)$")


def example() -> dict[str, str]:
    matches = (LINE.match(line) for line in EXAMPLE.read_text().splitlines())
    return {match[1]: match[2] for match in matches if match}


def test_every_setting_stands_in_the_example_and_nothing_else() -> None:
    assert set(example()) == {name.upper() for name in Settings.model_fields}


def test_the_example_shows_each_default() -> None:
    for name, field in Settings.model_fields.items():
        if isinstance(field.default, SecretStr):
            continue
        shown = example()[name.upper()]
        expected = str(field.default).lower() if isinstance(field.default, bool) else str(field.default)
        assert shown == expected, name
