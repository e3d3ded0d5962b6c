"""docs/CONFIGURATION.md, written from the settings themselves."""

import re
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from neuronetz_gateway.settings import Settings
from tests.support.configuration_words import GROUPS, UNITS, WHAT

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "CONFIGURATION.md"
_EXAMPLE = ROOT / ".env.example"
_NAMES = {str: "text", int: "whole number", float: "number", bool: "`true` or `false`", SecretStr: "secret"}
_SIGNS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}

_HEAD = """# Settings

Every setting, its default, its bounds. This page is written by `just docs` from the class of the settings itself
([src/neuronetz_gateway/settings.py](../src/neuronetz_gateway/settings.py)); a test holds the two equal.
[.env.example](../.env.example) is a file to start from.

- A setting is an environment variable, or a line `NAME=value` of an env file: that of `--env-file`, of
  `NEURONETZ_ENV_FILE`, else `.env` in the current folder. The environment wins over the file.
- `NAME_FILE` may be given instead of any `NAME`: the path of a file that holds the value, as containers hand over
  secrets. Both at once are refused.
- Settings are read once, at the start. A mistake is told in one line that names the setting, never its value, with exit
  status 1.
- Names that end in `_S` are seconds, in `_BYTES` bytes, in `_KIB` KiB, in `_DAYS` days.
- `HOST`, `PORT` and `WORKERS` may be given to `serve` as `--host`, `--port`, `--workers`.
- In production (`ENVIRONMENT`) weak secrets are refused: [SECURITY.md](../SECURITY.md#secrets-in-production).
"""

_TAIL = """## What has to fit together

- `LEASE_S` and `RECOVERY_AFTER_S` are each at least three times `HEARTBEAT_S`.
- `UPSTREAM_TOTAL_TIMEOUT_S` is at least `UPSTREAM_FIRST_BYTE_TIMEOUT_S`, which should be above Ollama's own
  `OLLAMA_LOAD_TIMEOUT`.
- `MAX_BODIES_BYTES` is at least twice `MAX_BODY_BYTES`, since one tenant may take a half of it.
- `METRICS_PORT` is not `PORT`; `KEY_PEPPER_PREVIOUS` is not `KEY_PEPPER`.

The command line knows two variables besides: `NEURONETZ_ENV_FILE`, the env file where `--env-file` is not given, and
`NEURONETZ_TRACEBACK=1`, with which an unexpected error is told with its traceback.
"""


def page() -> str:
    """The whole document; raises LookupError for a setting of which nothing says what it does."""
    return "\n".join([_HEAD, *_groups(), _TAIL])


def _groups() -> Iterator[str]:
    first_of_group = {first: title for title, first in GROUPS.items()}
    rows: list[str] = []
    for name, field in Settings.model_fields.items():
        if name in first_of_group:
            yield from (*rows, "") if rows else ()
            rows = [f"## {first_of_group[name]}\n", "| setting | type | default | what it does |", "|---|---|---|---|"]
        rows.append(_row(name, field))
    yield from (*rows, "")


def _row(name: str, field: FieldInfo) -> str:
    return f"| `{name.upper()}` | {type_of(name, field)} | {_default(field)} | {what(name, field)} |"


def type_of(name: str, field: FieldInfo) -> str:
    """In words: its kind, its unit by its name, its bounds."""
    kinds = [kind for kind in get_args(field.annotation) or (field.annotation,) if kind is not type(None)]
    words = " or ".join(_kind(kind) for kind in kinds)
    unit = next((unit for ending, unit in UNITS.items() if name.endswith(ending)), None)
    bounds = [f"{_SIGNS[sign]} {_figure(value)}" for sign, value in _bounds(field)]
    optional = type(None) in get_args(field.annotation)
    return ", ".join([f"{words} ({unit})" if unit else words, *bounds, *(["or `none`"] if optional else [])])


def _kind(kind: Any) -> str:
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return " or ".join(f"`{value}`" for value in kind)
    return _NAMES[kind]


def _bounds(field: FieldInfo) -> Iterator[tuple[str, float]]:
    for constraint in field.metadata:
        for sign in _SIGNS:
            if (value := getattr(constraint, sign, None)) is not None:
                yield sign, value


def _default(field: FieldInfo) -> str:
    default = field.default
    if isinstance(default, SecretStr) or default == "":
        return "not set"
    if default is None:
        return "`none`"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def what(name: str, field: FieldInfo) -> str:
    """What a setting does: in our words, else the class's, else those of the example above its line."""
    found = WHAT.get(name) or field.description or _said_in_the_example(name)
    if not found:
        raise LookupError(f"say what {name.upper()} does: tests/support/configuration_words.py")
    return found


def _said_in_the_example(name: str) -> str:
    said = re.search(rf"((?:^# (?!.*---).*\n)+)#?{name.upper()}=", _EXAMPLE.read_text(encoding="utf-8"), re.MULTILINE)
    return " ".join(line.removeprefix("# ") for line in said[1].splitlines()) if said else ""


def _figure(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
