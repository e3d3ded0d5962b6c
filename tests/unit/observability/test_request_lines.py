"""The line of a request, written past structlog."""

import json
import subprocess
import sys

import pytest

_PROGRAM = """
import sys
from uuid import UUID
from neuronetz_gateway.observability.logging import configure_logging, tell_request
tell = configure_logging(sys.argv[1])
for way in (tell, tell_request):
    way({"request_id": "r", "path": "/a\\n\\u2028", "status": 200, "ms": 1.25, "id": UUID(int=7), "estimated": True})
"""


def told(level: str) -> list[dict[str, object]]:
    ended = subprocess.run([sys.executable, "-c", _PROGRAM, level], capture_output=True, check=True, timeout=30)
    return [json.loads(line) for line in ended.stderr.splitlines()]


@pytest.mark.parametrize("level", ["debug", "info"])
def test_it_says_what_structlog_would_say(level: str) -> None:
    straight, by_structlog = told(level)
    assert list(straight) == list(by_structlog)  # in one order too
    assert straight.pop("time") <= by_structlog.pop("time")  # type: ignore[operator]  # two texts of one form
    assert straight == by_structlog
    assert straight["id"] == "00000000-0000-0000-0000-000000000007"
    assert (straight["event"], straight["level"]) == ("request", "info")


@pytest.mark.parametrize("level", ["warning", "error"])
def test_it_says_nothing_where_only_trouble_is_wanted(level: str) -> None:
    assert told(level) == []
