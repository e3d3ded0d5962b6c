"""The two files by which a quickstart finds itself again: its settings, its demo key."""

import os
import re
import secrets
from pathlib import Path

from neuronetz_gateway.domain.api_key import PlainKey

_PLAIN_VALUE = re.compile(r"[A-Za-z0-9_./:@?=&%,+-]*", re.ASCII)
_KEY_REMARK = (
    "# The key of the tenant demo, kept by `neuronetz-gateway quickstart` alone so that a restart can show it again.\n"
    "# The gateway never stores a key. Delete this file once you have noted the key somewhere better.\n"
)
_SETTINGS_REMARK = "# Written by `neuronetz-gateway quickstart`; lines of yours below it are kept.\n"


class QuickstartFiles:
    """gateway.env with demo-key in a data directory, both readable by us alone (0600)."""

    def __init__(self, data_dir: Path) -> None:
        self.env_file = data_dir / "gateway.env"
        self._key_file = data_dir / "demo-key"

    def settings(self) -> dict[str, str]:
        """The settings that the last run wrote, empty before the first."""
        pairs = (line.partition("=") for line in self._lines() if not line.startswith("#") and "=" in line)
        return {name.strip(): _unquoted(value.strip()) for name, _, value in pairs}

    def pepper(self) -> tuple[str, bool]:
        """The pepper of this data directory; the second value says that it was made just now."""
        kept = self.settings().get("KEY_PEPPER")
        return (kept, False) if kept else (secrets.token_hex(32), True)

    def write_settings(self, values: dict[str, str]) -> None:
        """Write these settings, keeping what a person has added."""
        ours = {f"{name}=" for name in values}
        kept = [line for line in self._lines() if line and not line.startswith((*ours, _SETTINGS_REMARK.strip()))]
        written = [f"{name}={_quoted(value)}" for name, value in values.items()]
        _write_private(self.env_file, _SETTINGS_REMARK + "\n".join((*written, *kept)) + "\n")

    def key(self) -> PlainKey | None:
        """The demo key, or None where its file is lost or spoilt."""
        if not self._key_file.is_file():
            return None
        lines = self._key_file.read_text(encoding="utf-8").splitlines()
        return next((key for line in lines if (key := PlainKey.parse(line.strip()))), None)

    def keep_key(self, key: PlainKey) -> None:
        _write_private(self._key_file, f"{_KEY_REMARK}{key.value}\n")

    def _lines(self) -> list[str]:
        return self.env_file.read_text(encoding="utf-8").splitlines() if self.env_file.is_file() else []


def _write_private(path: Path, text: str) -> None:
    """Write a file whole or not at all, readable by us alone from its first byte on."""
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _quoted(value: str) -> str:
    if _PLAIN_VALUE.fullmatch(value):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _unquoted(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] == "'":
        return value[1:-1].replace("\\'", "'").replace("\\\\", "\\")
    return value
