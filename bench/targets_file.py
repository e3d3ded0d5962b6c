"""Other gateways that run already, one entry each of a TOML file."""

import sys
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench import procstat
from bench.cases import OLLAMA_BODY
from bench.targets import Target, listens

_KNOWN = {"name", "url", "headers", "body", "pid"}


def read(path: Path) -> list[Target]:
    """The targets of a file that listen, the others said aloud; raises ValueError for one that cannot be."""
    targets = [_target(entry) for entry in tomllib.loads(path.read_text()).get("target", [])]
    for target in targets:
        if not listens(target):
            print(f"nothing listens at {target.base_url}: {target.name} is left out", file=sys.stderr)
    return [target for target in targets if listens(target)]


def _target(entry: dict[str, Any]) -> Target:
    if unknown := entry.keys() - _KNOWN:
        raise ValueError(f"a target has no {', '.join(sorted(unknown))}")
    if missing := {"name", "url"} - entry.keys():
        raise ValueError(f"a target needs a {', a '.join(sorted(missing))}")
    url, pid = str(entry["url"]), entry.get("pid")

    def processes() -> dict[str, list[int]]:
        """The given process with its children, else whoever listens on the port here; none on another machine."""
        if pid is not None:
            return {"proxy": procstat.tree(int(pid))}
        found = procstat.listeners(procstat.everyone(), urlsplit(url).port or 80)
        return {"proxy": found} if found else {}

    return Target(
        str(entry["name"]), url, dict(entry.get("headers", {})), str(entry.get("body", OLLAMA_BODY)), processes
    )
